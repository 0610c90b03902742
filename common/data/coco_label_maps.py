"""Label maps drawn from objects with masks, such as COCO's."""

import numpy as np
from absl import logging

from common.data.class_lists import MAX_CLASSES, distinct_colours
from common.data.coco_annotations import COCO_IDS
from common.data.detection import DetectionSource
from common.data.label_maps import LabelMapExample
from common.errors import UserError


class ObjectLabelMaps:
    """Which class every pixel is of, by objects; see `common.data.label_maps.LabelMapSource`.

    Class 0 is the background. With COCO's own 80 categories the classes are their ids, 91 of them,
    of which some mean nothing; else the categories follow in the order of their ids. Where objects
    overlap the smaller one is seen; crowds count as objects.

    Args:
      objects: with masks.

    Raises:
      UserError: a source without masks, or too many classes.
    """

    def __init__(self, objects: DetectionSource):
        if not objects.has_masks:
            raise UserError(f"label maps are drawn from outlines: {objects.summary}; draw them all")
        if objects.problems:
            logging.warning("%s", objects.summary)
        self._objects = objects
        ids = objects.category_ids
        self._classes = np.array(ids if tuple(ids) == COCO_IDS else range(1, len(ids) + 1))
        count = int(self._classes.max()) + 1
        if count > MAX_CLASSES:
            raise UserError(f"{count} classes; label maps have at most {MAX_CLASSES}")
        self.class_names = ["background", *(f"unused {i}" for i in range(1, count))]
        for index, name in zip(self._classes, objects.class_names, strict=True):
            self.class_names[index] = name
        black = np.zeros((1, 3), np.uint8)
        self.palette = np.concatenate([black, distinct_colours(count - 1)])

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> LabelMapExample:
        example = self._objects[index]
        masks = example["masks"]
        label_map = np.zeros(masks.shape[1:], np.uint8)
        for i in np.argsort(-masks.sum((1, 2)), stable=True):
            label_map[masks[i]] = self._classes[example["labels"][i]]
        return {"image": example["image"], "label_map": label_map, "name": example["name"]}

    def name(self, index: int) -> str:
        """Returns the image's path below the folder of images."""
        return self._objects.name(index)

    def check(self, max_corrupt: int = 0) -> None:
        """As `common.data.detection_files.DetectionFiles.check`."""
        self._objects.check(max_corrupt)
