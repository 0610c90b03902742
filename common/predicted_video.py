"""A video in; out comes one with what was found in its frames, and a table of that."""

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from common.predict import VideoPredictor
from common.video import VideoSummary, rewrite_video


def table_of(target: Path) -> Path:
    """Returns where the table of a video is: `clip.mp4.csv`. It is the last that is written."""
    return target.with_name(f"{target.name}.csv")


def predict_video(
    predictor: VideoPredictor, source: Path, target: Path, progress: Callable[[int], None]
) -> VideoSummary:
    """Predicts from every frame of a video, `predictor.batch_size` at once.

    The video and its table, with a column `frame` that counts from 0, are each complete or not
    there.

    Args:
      predictor: finds something in a frame, and pictures it.
      source: the file to read.
      target: the video to write, in the format of its suffix; what is there is replaced.
      progress: called with the number of frames done after every one.

    Raises:
      UserError: see `common.video.rewrite_video`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{table_of(target).name}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["frame", *predictor.columns])

            def pictured(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
                numbered = enumerate(frames)
                while batch := list(islice(numbered, predictor.batch_size)):
                    results = predictor.run([predictor.prepare(_bytes(x)) for _, x in batch])
                    for (number, _), result in zip(batch, results, strict=True):
                        table.writerows([number, *row.values()] for row in predictor.rows(result))
                        yield predictor.picture(result) / np.float32(255)

            summary = rewrite_video(source, target, pictured, progress)
        temporary.replace(table_of(target))
    finally:
        temporary.unlink(missing_ok=True)
    return summary


def _bytes(frame: np.ndarray) -> np.ndarray:
    return np.rint(frame * 255).astype(np.uint8)
