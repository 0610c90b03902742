"""Shapes and coins as examples of detection: pictures of which every object's mask is known."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.data import coins
from common.data.detection import DetectionExample
from common.data.detection_objects import ImageEntry, ObjectEntry, coco_json
from common.data.rle import encode_rle
from common.data.shapes import CLASS_NAMES, ShapesSource


class Picture(NamedTuple):
    """An image and the masks in it.

    Attributes:
      image: uint8 `[height, width, 3]`.
      masks: bool `[objects, height, width]`.
      boxes: float32 `[objects, 4]`: exactly the bounds of the masks.
      labels: int64 `[objects]`.
    """

    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class DrawnObjects:
    """Pictures with objects; see `common.data.detection.DetectionSource`.

    Ids of images and categories count from 1.

    Args:
      picture: returns the one at a position.
      names: of every picture.
      sizes: int32 `[pictures, 2]`: their heights and widths.
      class_names: one per class.
    """

    has_masks = True

    def __init__(
        self,
        picture: Callable[[int], Picture],
        names: Sequence[str],
        sizes: np.ndarray,
        class_names: Sequence[str],
    ):
        self._picture, self._names, self.sizes = picture, names, sizes
        self.class_names = list(class_names)
        self.category_ids = list(range(1, len(class_names) + 1))
        self.problems: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> DetectionExample:
        index = range(len(self))[index]
        image, masks, boxes, labels = self._picture(index)
        return {
            "image": image,
            "boxes": boxes,
            "labels": labels,
            "crowd": np.zeros(len(labels), bool),
            "masks": masks,
            "image_id": index + 1,
            "name": self.name(index),
        }

    def name(self, index: int) -> str:
        """Returns the picture's name."""
        return self._names[index]

    @property
    def summary(self) -> str:
        """What there is, in a line."""
        return f"{len(self):,} images; objects of {len(self.class_names)} classes, with masks"

    def ground_truth(self) -> dict[str, Any]:
        """Returns all pictures and their objects as COCO's JSON has them."""
        categories = dict(zip(self.category_ids, self.class_names, strict=True))
        return coco_json(map(self._entries, range(len(self))), categories)

    def _entries(self, index: int) -> tuple[ImageEntry, list[ObjectEntry]]:
        example, name = self[index], self.name(index)
        objects = []
        for (x1, y1, x2, y2), label, mask in zip(
            example["boxes"].tolist(), example["labels"].tolist(), example["masks"], strict=True
        ):
            bbox, area = (x1, y1, x2 - x1, y2 - y1), float(mask.sum())
            objects.append(ObjectEntry(index, bbox, label, False, area, 0, encode_rle(mask)))
        return ImageEntry(index + 1, name, name, *self.sizes[index].tolist()), objects

    def check(self, max_corrupt: int = 0) -> None:
        """Does nothing: there are no files."""


def shapes_with_objects(split: str, count: int | None = None, size: int = 128) -> DrawnObjects:
    """Returns drawn scenes of ellipses, rectangles and triangles; the fields of `ShapesSource`."""
    scenes = ShapesSource(split, count, size)
    names = [scenes.name(i) for i in range(len(scenes))]
    sizes = np.full((len(names), 2), size, np.int32)
    return DrawnObjects(_Scenes(scenes), names, sizes, CLASS_NAMES[1:])


class _Scenes:
    def __init__(self, scenes: ShapesSource):
        self._scenes = scenes

    def __call__(self, index: int) -> Picture:
        scene = self._scenes.scene(index)
        return Picture(scene.image, scene.masks, scene.boxes, scene.classes - 1)


def coins_with_objects(split: str) -> DrawnObjects:
    """Returns the rows of coins on a photo: three for "train", one for "test"."""
    strips = coins.coin_strips(split)
    pictures = [
        Picture(strip.image, strip.masks, strip.boxes, np.zeros(len(strip.masks), np.int64))
        for strip in strips
    ]
    sizes = np.array([strip.image.shape[:2] for strip in strips], np.int32)
    names = [strip.name for strip in strips]
    return DrawnObjects(pictures.__getitem__, names, sizes, coins.CLASS_NAMES[1:])
