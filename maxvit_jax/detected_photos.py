"""Photos and frames in, objects out: what `launch.predict` writes of a detector."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.coco_tools import decoded_mask
from common.config import require
from common.data.images import decode
from common.demo.shown import Shown, Table
from common.detections import Detections, coco_results
from common.errors import did_you_mean
from common.pictures import box_overlay, encoded
from maxvit_jax.detection import Detector

Found = tuple[np.ndarray, Detections]

_RESULTS = ".objects.json"  # of a photo


class DetectedPhotos:
    """A detector as `common.predict.VideoPredictor`.

    Args:
      detector: with a meaning.
      score: leave out what has a lower one.
      classes: names to keep, comma-separated; "": all.
      batch_size: photos at once.

    Raises:
      UserError: a class that the detector doesn't know.
    """

    writes_files = takes_videos = True
    columns = ("name", "category_id", "score", "x1", "y1", "x2", "y2")

    def __init__(self, detector: Detector, score: float, classes: str, *, batch_size: int = 1):
        self.batch_size = batch_size
        self._detector, self._score = detector, score
        self._names = detector.meaning.class_names or [
            f"category {number}" for number in detector.meaning.category_ids
        ]
        wanted = [name.strip() for name in classes.split(",") if name.strip()]
        for name in wanted:
            hint = did_you_mean(name, self._names)
            require(name in self._names, f"--classes: there is no class {name!r}; {hint}")
        self._kept = [not wanted or name in wanted for name in self._names]

    @property
    def settings(self) -> str:
        """See `common.predict.VideoPredictor`."""
        return f"{self._detector.settings} {self._score} {self._kept}"

    def prepare(self, photo: bytes | np.ndarray) -> np.ndarray:
        """See `common.predict.Predictor`."""
        return decode(photo)

    def run(self, prepared: Sequence[np.ndarray]) -> list[Found]:
        """See `common.predict.Predictor`."""
        padding = [prepared[-1]] * (self.batch_size - len(prepared))
        found = self._detector.of_batch([*prepared, *padding])
        pairs = zip(prepared, found, strict=False)
        return [(photo, self._chosen(objects)) for photo, objects in pairs]

    def rows(self, result: Found) -> list[dict[str, Any]]:
        """See `common.predict.Predictor`: an object each, the surest first."""
        _, found = result
        ids = self._detector.meaning.category_ids
        rows = (
            (self._names[kind], ids[kind], f"{score:.6g}", *(f"{x:.2f}" for x in box))
            for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
        )
        return [dict(zip(self.columns, row, strict=True)) for row in rows]

    def text(self, result: Found) -> str:
        """See `common.predict.Predictor`: how many of each class."""
        counts = np.bincount(result[1].classes, minlength=len(self._names))
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        return ", ".join(f"{counts[k]} {self._names[k]}" for k in order) or "nothing"

    def shown(self, result: Found) -> list[Shown]:
        """See `common.predict.Predictor`."""
        return [Table(self.rows(result))]

    def files(self, result: Found, image_id: int | str) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: the photo with boxes, and COCO's results."""
        results = coco_results({image_id: result[1]}, self._detector.meaning.category_ids)
        picture = encoded(self.picture(result), "JPEG")
        return {".objects.jpg": picture, _RESULTS: json.dumps(results).encode()}

    def picture(self, result: Found) -> np.ndarray:
        """See `common.predict.VideoPredictor`: with boxes, names, scores and masks."""
        photo, found = result
        masks = found.masks
        if masks is not None:
            masks = (decoded_mask(mask, *photo.shape[:2]) for mask in masks)
        return box_overlay(
            photo,
            found.boxes,
            found.classes,
            self._names,
            self._detector.meaning.palette,
            scores=found.scores,
            masks=masks,
        )

    def folder_files(self) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: names of the categories."""
        ids = self._detector.meaning.category_ids
        rows = [{"id": i, "name": name} for i, name in zip(ids, self._names, strict=True)]
        return {"categories.json": json.dumps(rows, indent=2).encode()}

    def closing_files(self, folder: Path) -> dict[str, bytes]:
        """See `common.predict.FilePredictor`: COCO's results of all photos."""
        photos = [path.read_bytes() for path in sorted(folder.rglob(f"*{_RESULTS}"))]
        # Joined as text: many masks take several times the memory as objects.
        rows = b",\n".join(text[1:-1] for text in photos if text != b"[]")
        return {"detections.json": b"[" + rows + b"]"} if photos else {}

    def _chosen(self, found: Detections) -> Detections:
        found = found.above(self._score)
        kept = np.flatnonzero([self._kept[k] for k in found.classes])
        masks = None if found.masks is None else [found.masks[i] for i in kept]
        return Detections(found.boxes[kept], found.scores[kept], found.classes[kept], masks)
