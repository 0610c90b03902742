"""COCO's metrics of detected boxes and masks over an evaluation set."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from common.coco_tools import coco_tools
from common.detections import Detections, coco_results, in_original_pixels
from common.errors import UserError
from common.metrics.average_precision import SUMMARY, AveragePrecision, Kind, average_precision
from common.metrics.evaluator import Evaluator


class DetectionEvaluator(Evaluator):
    """Collects what was found in every image, in the image's own pixels, and compares at the end.

    Only images that were seen count, each once.

    Args:
      ground_truth: `images`, `annotations` and `categories` as COCO's files have them; not changed.
      category_ids: one per class.
      masks: measure masks too.

    Attributes:
      kinds: what is measured: `"box"`, and `"mask"`.
      detections: by image id.

    Raises:
      UserError: pycocotools isn't installed, or masks are to be measured and objects have none.
    """

    inputs = ("image_id", "scale", "original_size")

    def __init__(self, ground_truth: Mapping[str, Any], category_ids: Sequence[int], masks: bool):
        coco_tools()  # says so now if it isn't there
        if masks:
            for annotation in ground_truth["annotations"]:
                if not annotation.get("segmentation"):
                    raise UserError(
                        f"annotation {annotation['id']} of image {annotation['image_id']} has no"
                        " mask (segmentation): only boxes can be measured on this data"
                    )
        self.ground_truth, self.category_ids = ground_truth, list(category_ids)
        self.kinds: tuple[Kind, ...] = ("box", "mask") if masks else ("box",)
        self.outputs = ("boxes", "scores", "classes", *(("masks",) if masks else ()))
        self.metrics = (*(f"{kind}_{name}" for kind in self.kinds for name in SUMMARY), "examples")
        self.detections: dict[int, Detections] = {}
        self._image_ids = {image["id"] for image in ground_truth["images"]}
        self._measured: dict[Kind, AveragePrecision] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Shares the truth, which may be large and doesn't change."""
        copied = copy.copy(self)
        copied.detections, copied._measured = dict(self.detections), {}
        return copied

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `boxes` `[batch, count, 4]`, `scores` and `classes` `[batch, count]`, `masks`
            `[batch, count, rows, columns]`: see `common.detections.in_original_pixels`.
          batch: `image_id` `[batch]`; `scale` `[batch, 2]`; `original_size` `[batch, 2]`; `mask`
            `[batch]`, 0 for padding, which is not counted.

        Raises:
          UserError: outputs that are not finite, or an image that is not of the ground truth.
        """
        for i in np.flatnonzero(batch["mask"]):
            if (image_id := int(batch["image_id"][i])) in self.detections:
                continue
            of_image = {name: outputs[name][i] for name in self.outputs}
            if not all(np.isfinite(array).all() for array in of_image.values()):
                raise UserError(
                    f"what the model found in image {image_id} is not finite: its weights can't be"
                    " evaluated"
                )
            found = in_original_pixels(of_image, batch["scale"][i], batch["original_size"][i])
            self.add(image_id, found)

    def add(self, image_id: int, found: Detections) -> None:
        """Takes what was found in one image; an image that was seen already doesn't count again.

        Raises:
          UserError: an image that is not of the ground truth.
        """
        if image_id not in self._image_ids:
            raise UserError(f"image {image_id} is not in the ground truth: it is of other data")
        self.detections.setdefault(image_id, found)
        self._measured = {}

    def compute(self) -> dict[str, float]:
        """Returns COCO's twelve numbers per kind (see `AveragePrecision`), and the count of images.

        A number is NaN where there is nothing that it could be about, such as large objects.

        Raises:
          UserError: no image was seen.
        """
        metrics = {
            f"{kind}_{name}": value
            for kind, measured in self.average_precision().items()
            for name, value in measured.summary.items()
        }
        return {**metrics, "examples": len(self.detections)}

    def average_precision(self) -> dict[Kind, AveragePrecision]:
        """Returns per kind what was measured over all images seen, per class too.

        Raises:
          UserError: no image was seen.
        """
        if not self.detections:
            raise UserError("no image was evaluated: the data set is empty or unreadable")
        if not self._measured:  # takes a minute on COCO, and metrics and report both ask
            self._measured = {kind: self._compared(kind) for kind in self.kinds}
        return self._measured

    def results(self) -> list[dict[str, Any]]:
        """Returns everything found as COCO's results: see `common.detections.coco_results`."""
        return coco_results(self.detections, self.category_ids)

    def _compared(self, kind: Kind) -> AveragePrecision:
        found = self.results()
        if kind == "mask":  # small and large are those by the mask's area, not by the box's
            for result in found:
                del result["bbox"]
        return average_precision(self.ground_truth, found, self.detections, self.category_ids, kind)
