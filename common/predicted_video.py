"""A video in; out comes one with what was found in its frames, and a table of that."""

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from common.csv_text import csv_text
from common.predict import VideoPredictor
from common.unfinished import unfinished_file
from common.video import VideoSummary, rewrite_video
from common.video_parts import VideoParts


def table_of(target: Path) -> Path:
    """Returns where the table of a video is: `clip.mp4.csv`. It is there before the video."""
    return target.with_name(f"{target.name}.csv")


def predict_video(
    predictor: VideoPredictor, source: Path, target: Path, progress: Callable[[int], None]
) -> VideoSummary:
    """Predicts from every frame of a video, `predictor.batch_size` at once.

    The video and its table, with a column `frame` that counts from 0, are each complete or not
    there. What is interrupted leaves a folder beside the target, and the same call goes on with it.

    Args:
      predictor: finds something in a frame, and pictures it.
      source: the file to read.
      target: the video to write, in the format of its suffix; what is there is replaced.
      progress: called with the number of frames done after every one.

    Raises:
      UserError, OSError: see `common.video.rewrite_video`.
    """

    def pictured(frames: Iterator[np.ndarray], parts: VideoParts) -> Iterator[np.ndarray]:
        numbered = enumerate(frames, start=parts.frames)
        while batch := list(islice(numbered, predictor.batch_size)):
            results = predictor.run([predictor.prepare(_bytes(x)) for _, x in batch])
            for (number, _), result in zip(batch, results, strict=True):
                parts.note(csv_text([number, *row.values()] for row in predictor.rows(result)))
                yield predictor.picture(result) / np.float32(255)
        parts.finish()
        header = csv_text([["frame", *predictor.columns]])
        with unfinished_file(table_of(target)) as table, table.open("wb") as file:
            for text in chain([header], parts.notes()):
                file.write(text.encode(errors="surrogateescape"))

    return rewrite_video(source, target, pictured, progress, settings=predictor.settings)


def _bytes(frame: np.ndarray) -> np.ndarray:
    return np.rint(frame * 255).astype(np.uint8)
