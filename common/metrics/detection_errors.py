"""Why detections are wrong: kinds of errors in the manner of TIDE (Bolya et al. 2020).

A box with an IoU of at least .5 has found an object, one below .1 with all of them is background.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.detections import Detections

FOREGROUND, BACKGROUND = 0.5, 0.1
# In the order in which they are tried on a detection:
KINDS = (
    "correct",  # foreground of a free object of its class
    "duplicate",  # of an object of its class that a better detection has
    "wrong_class",  # of an object of another class
    "poor_box",  # between background and foreground with an object of its class
    "wrong_class_and_box",  # the same with one of another class
    "background",  # none of these
)


class Truths(NamedTuple):
    """The objects of one image.

    Attributes:
      boxes: float64 `[objects, 4]`: x1, y1, x2, y2 in pixels.
      classes: int64 `[objects]`.
      crowd: bool `[objects]`: a box of many; what is in it is neither right nor wrong.
    """

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


class ImageErrors(NamedTuple):
    """What is right and wrong in one image.

    Attributes:
      kinds: int64 `[detections]`: index into `KINDS`; -1: it lies in a crowd and doesn't count.
      missed: bool `[objects]`: no detection is correct for it; crowds are never missed.
    """

    kinds: np.ndarray
    missed: np.ndarray

    @property
    def f1(self) -> float:
        """Correct detections over the mean of those that count and of objects; NaN without any."""
        correct = (self.kinds == 0).sum()
        both = (self.kinds >= 0).sum() + correct + self.missed.sum()
        return float(2 * correct / both) if both else np.nan


def truths_by_image(
    ground_truth: Mapping[str, Any], category_ids: Sequence[int], image_ids: Iterable[int]
) -> dict[int, Truths]:
    """Returns the objects of some images of COCO's format, by image id.

    Args:
      ground_truth: has `annotations`; those of other categories are left out.
      category_ids: one per class.
      image_ids: of the images wanted, those without objects too.
    """
    classes = {category: k for k, category in enumerate(category_ids)}
    rows = {image_id: [] for image_id in image_ids}
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in rows and annotation["category_id"] in classes:
            x, y, width, height = annotation["bbox"]
            crowd, k = annotation.get("iscrowd", 0), classes[annotation["category_id"]]
            rows[annotation["image_id"]].append((x, y, x + width, y + height, k, crowd))
    arrays = {name: np.array(row, np.float64).reshape(-1, 6) for name, row in rows.items()}
    return {
        name: Truths(a[:, :4], a[:, 4].astype(np.int64), a[:, 5].astype(bool))
        for name, a in arrays.items()
    }


def find_errors(found: Detections, truths: Truths) -> ImageErrors:
    """Says of every detection of an image what it is; those of higher scores come first.

    Args:
      found: those that count, such as `detections.above(0.3)`.
      truths: the objects.
    """
    objects = ~truths.crowd
    same = found.classes[:, None] == truths.classes
    shared, own, area = _overlaps(found.boxes, truths.boxes)
    iou = shared / np.maximum(own[:, None] + area - shared, 1e-12) * objects
    # Of a crowd it counts how much of the detection lies in it.
    in_crowd = (shared >= FOREGROUND * own[:, None]) & same & truths.crowd & (own > 0)[:, None]
    kinds, free = np.empty(len(found.boxes), np.int64), objects.copy()
    for i in np.argsort(-found.scores, kind="stable"):
        candidates = np.where(same[i] & free, iou[i], 0)
        if candidates.max(initial=0) >= FOREGROUND:
            free[candidates.argmax()] = False
            kinds[i] = KINDS.index("correct")
        else:
            right, other = (iou[i, s].max(initial=0) for s in (same[i], ~same[i]))
            kinds[i] = -1 if in_crowd[i].any() else KINDS.index(_error(right, other))
    return ImageErrors(kinds, free)


def _error(right: float, other: float) -> str:
    """Kind of a detection by its IoU with objects of its class, now taken, and of others."""
    if right >= FOREGROUND:
        return "duplicate"
    if other >= FOREGROUND:
        return "wrong_class"
    if right >= BACKGROUND:
        return "poor_box"
    return "wrong_class_and_box" if other >= BACKGROUND else "background"


def _overlaps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas that boxes `[m, 4]` and `[n, 4]` share, `[m, n]`, and those of each."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return np.maximum(high - low, 0).prod(-1), *areas


class ErrorCounts:
    """Adds up the errors of images.

    Args:
      num_classes: classes are in [0, num_classes).

    Attributes:
      detections: int64 `[classes, kinds]`: by the detection's class.
      missed: int64 `[classes]`: by the object's class.
      objects: int64 `[classes]`: `detections[:, 0] + missed`.
    """

    def __init__(self, num_classes: int):
        self.detections = np.zeros((num_classes, len(KINDS)), np.int64)
        self.missed = np.zeros(num_classes, np.int64)

    def add(self, errors: ImageErrors, found: Detections, truths: Truths) -> None:
        """Takes what `find_errors` said about an image."""
        counted = errors.kinds >= 0
        np.add.at(self.detections, (found.classes[counted], errors.kinds[counted]), 1)
        np.add.at(self.missed, truths.classes[errors.missed], 1)

    @property
    def objects(self) -> np.ndarray:
        return self.detections[:, 0] + self.missed
