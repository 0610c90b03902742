"""What was found in an image, in the image's own pixels; and as COCO's results."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.ops.paste import paste_rles


class Detections(NamedTuple):
    """The objects found in one image.

    Attributes:
      boxes: float64 `[objects, 4]`: x1, y1, x2, y2 in pixels of the image, within it.
      scores: float64 `[objects]` in 0..1.
      classes: int64 `[objects]`.
      masks: of the whole image, `size` and compressed `counts` per object; None: boxes alone.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: list[dict[str, Any]] | None = None

    def above(self, score: float) -> "Detections":
        """Returns those with at least a score."""
        kept = np.flatnonzero(self.scores >= score)
        masks = None if self.masks is None else [self.masks[i] for i in kept]
        return Detections(self.boxes[kept], self.scores[kept], self.classes[kept], masks)


def in_original_pixels(
    outputs: Mapping[str, np.ndarray], scale: np.ndarray, original_size: np.ndarray
) -> Detections:
    """Maps what a network found in a resized image back to the image that it was.

    Boxes are clipped to the image; those of which nothing is left are dropped, as is padding.

    Args:
      outputs: of one image: `boxes` `[count, 4]`, x1, y1, x2, y2 in pixels of the network's input;
        `scores` `[count]`; `classes` `[count]`, -1 where there is no object; `masks`
        `[count, rows, columns]`, probabilities within the boxes, if there are any.
      scale: `[2]`, resized height and width over original ones.
      original_size: `[2]`, height and width.

    Raises:
      UserError: there are masks, but pycocotools isn't installed.
    """
    height, width = (int(side) for side in original_size)
    boxes = outputs["boxes"].astype(np.float64) / np.tile(scale[::-1].astype(np.float64), 2)
    clipped = np.clip(boxes, 0, [width, height, width, height])
    there = (outputs["classes"] >= 0) & (clipped[:, 2:] > clipped[:, :2]).all(-1)
    masks = None
    if "masks" in outputs:  # within the box as it was, or they would be squeezed at borders
        masks = paste_rles(outputs["masks"][there], boxes[there], height, width)
    scores, classes = outputs["scores"].astype(np.float64), outputs["classes"].astype(np.int64)
    return Detections(clipped[there], scores[there], classes[there], masks)


def coco_results(
    detections: Mapping[int | str, Detections], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns detections as the list of COCO's results format, which is JSON.

    Args:
      detections: by image id.
      category_ids: one per class.

    Returns:
      `image_id`, `category_id`, `bbox` (x, y, width, height) and `score` per object, and
      `segmentation` if there are masks.
    """
    results = []
    for image_id, found in detections.items():
        corners = np.hstack([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]])
        for i, (box, score, k) in enumerate(zip(corners, found.scores, found.classes, strict=True)):
            result = {
                "image_id": image_id,
                "category_id": int(category_ids[k]),
                "bbox": box.tolist(),
                "score": float(score),
            }
            if found.masks is not None:
                result["segmentation"] = found.masks[i]
            results.append(result)
    return results
