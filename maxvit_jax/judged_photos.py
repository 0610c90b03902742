"""Photos in, scores out: what `launch.predict` writes of a model of quality."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging

from common.data.image_files import read_content
from common.data.images import CorruptImage, decode
from common.data.resized_crops import resize_image
from common.demo.shown import Bar, Bars, Shown
from common.photo_table import TABLE, unfinished
from common.pictures import comparison_sheet, encoded
from common.predict import PhotoPredictor

MOST_SHOWN = 100  # photos on the sheet
SIDE = 160  # of a photo on it
_COLUMNS = 10


class JudgedPhotos(PhotoPredictor):
    """A task's `predict` as `common.predict.FilePredictor`: a table, and a sheet of all photos."""

    writes_files = True

    def text(self, result: dict[str, np.ndarray]) -> str:
        """See `common.predict.Predictor`: mean and standard deviation."""
        (row,) = self.rows(result)
        return f"{row['mean']} ± {row['std']}"

    def shown(self, result: dict[str, np.ndarray]) -> list[Shown]:
        """See `common.predict.Predictor`: a histogram of the scores."""
        (row,) = self.rows(result)
        scores = {name: share for name, share in row.items() if name not in ("mean", "std")}
        return [Bars("votes", [Bar(name, float(share)) for name, share in scores.items()])]

    def files(self, result: dict[str, np.ndarray], image_id: int | str) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: none, the table says it all."""
        del result, image_id
        return {}

    def folder_files(self) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: none."""
        return {}

    def closing_files(self, folder: Path) -> Mapping[str, bytes]:
        """See `common.predict.FilePredictor`: `sheet.png`, the best photos first.

        Of more than 100 photos it has the best and the worst 50, and says so.
        """
        with unfinished(folder / TABLE).open(
            newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            found = [(float(row["mean"]), row["image"]) for row in csv.DictReader(file)]
        ranked = [*enumerate(sorted(found, key=lambda row: -row[0]), 1)]
        if len(ranked) > MOST_SHOWN:
            half = MOST_SHOWN // 2
            logging.info("sheet.png has the best and the worst %d of %d photos", half, len(ranked))
            ranked = ranked[:half] + ranked[-half:]
        shown, gone = [], []
        for rank, (mean, path) in ranked:
            photo = _small(path)
            if photo is None:
                gone.append(path)
            else:
                shown.append((photo, f"{rank}: {mean:.2f} {Path(path).name}"))
        if gone:
            logging.warning("sheet.png lacks photos that are no longer there: %s", ", ".join(gone))
        if not shown:
            return {}
        rows = [shown[i : i + _COLUMNS] for i in range(0, len(shown), _COLUMNS)]
        photos, captions = ([[pair[k] for pair in row] for row in rows] for k in (0, 1))
        return {"sheet.png": encoded(comparison_sheet(photos, captions, side=SIDE))}


def _small(path: str) -> np.ndarray | None:
    """A photo at the sheet's size; None where it is no longer there."""
    try:
        photo = decode(read_content(Path(path)))
    except CorruptImage:
        return None
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    return resize_image(photo, tuple(max(1, round(side * scale)) for side in photo.shape[:2]))
