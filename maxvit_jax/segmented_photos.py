"""Photos in, label maps out: what `launch.predict` writes of a segmentation model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.csv_text import csv_text
from common.data.images import decode
from common.data.resized_crops import resize_image
from common.demo.shown import Bar, Bars, Shown
from common.pictures import encoded, label_overlay
from maxvit_jax.segmentation import Segmentation, Segmenter

_LARGEST_OVERLAY = 4096  # pixels of its longer side


class SegmentedPhotos:
    """A segmenter as `common.predict.FilePredictor`: one photo at a time, they have many sizes.

    Args:
      segmenter: gives label maps.
      palette: uint8 `[classes, 3]`.
    """

    batch_size = 1
    writes_files = True
    takes_videos = False

    def __init__(self, segmenter: Segmenter, palette: np.ndarray):
        self._segmenter, self._palette = segmenter, palette

    def prepare(self, photo: bytes) -> np.ndarray:
        """See `common.predict.Predictor`."""
        return decode(photo)

    def run(self, prepared: Sequence[np.ndarray]) -> list[tuple[np.ndarray, Segmentation]]:
        """See `common.predict.Predictor`."""
        return [(photo, self._segmenter(photo)) for photo in prepared]

    def rows(self, result: tuple[np.ndarray, Segmentation]) -> list[dict[str, Any]]:
        """See `common.predict.Predictor`: a class each, the largest first."""
        labels, classes = result[1].label_map.ravel(), self._segmenter.num_classes
        pixels = np.bincount(labels, minlength=classes)
        confidence = np.bincount(labels, result[1].confidence.ravel(), minlength=classes)
        return [
            {
                "class": int(index),
                "name": self._names[index],
                "share": f"{pixels[index] / labels.size:.6g}",
                "confidence": f"{confidence[index] / pixels[index]:.6g}",
            }
            for index in np.argsort(-pixels, kind="stable")[: np.count_nonzero(pixels)]
        ]

    def text(self, result: tuple[np.ndarray, Segmentation]) -> str:
        """See `common.predict.Predictor`: the largest classes."""
        rows = self.rows(result)[:5]
        return ", ".join(f"{float(row['share']):.1%} {row['name'] or row['class']}" for row in rows)

    def shown(self, result: tuple[np.ndarray, Segmentation]) -> list[Shown]:
        """See `common.predict.Predictor`: a legend, the largest classes first."""
        bars = [
            Bar(
                row["name"] or f"class {row['class']}",
                float(row["share"]),
                self._palette[row["class"]],
            )
            for row in self.rows(result)
        ]
        return [Bars("share of the photo", bars)]

    def files(
        self, result: tuple[np.ndarray, Segmentation], image_id: int | str
    ) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: class indices with a palette, and an overlay."""
        del image_id  # the files' names say enough
        photo, (label_map, _) = result
        files = {".png": encoded(label_map, palette=self._palette)}
        sides = label_map.shape
        scale = max(sides) / _LARGEST_OVERLAY
        if scale > 1:  # for looking at
            size = tuple(max(round(side / scale), 1) for side in sides)
            rows, columns = (np.arange(a) * b // a for a, b in zip(size, sides, strict=True))
            photo, label_map = resize_image(photo, size), label_map[np.ix_(rows, columns)]
        overlay = label_overlay(photo, label_map, self._palette)
        return files | {".overlay.jpg": encoded(overlay, "JPEG")}

    def folder_files(self) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: names and colours of the classes."""
        rows = [(i, name, *self._palette[i]) for i, name in enumerate(self._names)]
        text = csv_text([("class", "name", "red", "green", "blue"), *rows])
        return {"classes.csv": text.encode(errors="surrogateescape")}

    def closing_files(self, folder: Path) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: none."""
        del folder
        return {}

    @property
    def _names(self) -> Sequence[str]:
        return self._segmenter.class_names or [""] * self._segmenter.num_classes
