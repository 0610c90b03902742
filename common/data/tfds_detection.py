"""Data sets of tfds with objects, such as `coco/2017`: boxes alone, tfds has no masks of COCO."""

import functools
from typing import Any

import numpy as np

from common.data.coco_annotations import COCO_IDS
from common.data.crops import image_size
from common.data.detection import DetectionExample
from common.data.detection_objects import ImageEntry, ObjectEntry, coco_json, usable_objects
from common.data.tfds_builders import TfdsRecords, encoded_records, tfds_builder
from common.errors import UserError


class TfdsDetection(TfdsRecords):
    """A tfds data set prepared on disk as array_record; a
    `common.data.detection.DetectionSource`; see `TfdsRecords`.

    Objects without area or outside their image are left out when an example is read; they aren't
    counted, since that would take reading everything. Ids of COCO's images and categories are
    COCO's own.
    """

    has_masks = False

    def _open(self) -> None:
        name, split, data_dir = self._args
        builder = tfds_builder(name, data_dir)
        features = builder.info.features
        objects = getattr(features["objects"], "feature", {}) if "objects" in features else {}
        if "image" not in features or not {"bbox", "label"} <= {*objects}:
            raise UserError(
                f"tfds data set {name!r} has no image and objects with bbox and label; "
                f"its features are {', '.join(features)}"
            )
        self.class_names = list(objects["label"].names)
        count = len(self.class_names)
        # Labels 0 to 79 stand for ids.
        coco = builder.name == "coco" and count == len(COCO_IDS)
        self.category_ids = list(COCO_IDS if coco else range(1, count + 1))
        self.problems: dict[str, int] = {}
        self._records = encoded_records(builder, name, split, "image")

    def __getitem__(self, index: int) -> DetectionExample:
        index = range(len(self))[index]
        record = self._records[index]
        image, objects = self._objects(index, record)
        bboxes = np.array([entry.bbox for entry in objects], np.float64).reshape(-1, 4)
        boxes = np.concatenate([bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]], 1)
        return {
            "image": record["image"],
            "boxes": boxes.clip(0, [image.width, image.height] * 2).astype(np.float32),
            "labels": np.array([entry.label for entry in objects], np.int64),
            "crowd": np.array([entry.crowd for entry in objects], bool),
            "image_id": image.id,
            "name": image.file_name,
        }

    def _objects(self, index: int, record: dict[str, Any]) -> tuple[ImageEntry, list[ObjectEntry]]:
        name = record.get("image/filename", f"[{index}]")
        name = name.decode() if isinstance(name, bytes) else str(name)
        height, width = image_size(record["image"])
        image = ImageEntry(int(record.get("image/id", index + 1)), "", name, height, width)
        objects = record["objects"]
        sides = np.reshape(objects["bbox"], (-1, 4)) * np.array([height, width] * 2, np.float64)
        rows = [
            {"image_id": image.id, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for label, (y1, x1, y2, x2) in zip(objects["label"], sides.tolist(), strict=True)
        ]
        for key, ours in (("id", "id"), ("area", "area"), ("is_crowd", "iscrowd")):
            for row, value in zip(rows, objects.get(key, ()), strict=key in objects):
                row[ours] = value.item()
        labels = {label: label for label in range(len(self.class_names))}
        entries, _ = usable_objects(rows, [image], labels)
        if "id" not in objects:  # then those of all images are numbered together
            entries = [entry._replace(id=0) for entry in entries]
        return image, entries

    def name(self, index: int) -> str:
        """Returns the image's file name, or its position."""
        return self[index]["name"]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Height and width of every image, int32 `[examples, 2]`; reads all of them once."""
        sizes = [image_size(self._records[i]["image"]) for i in range(len(self))]
        return np.array(sizes, np.int32).reshape(-1, 2)

    @property
    def summary(self) -> str:
        """What there is, in a line."""
        return f"{len(self):,} images; objects of {len(self.class_names)} classes, without masks"

    def ground_truth(self) -> dict[str, Any]:
        """Returns all images and their objects as COCO's JSON has them; reads all of them."""
        categories = dict(zip(self.category_ids, self.class_names, strict=True))
        records = ((i, self._records[i]) for i in range(len(self)))
        return coco_json((self._objects(*record) for record in records), categories)

    def check(self, max_corrupt: int = 0) -> None:
        """Does nothing: tfds has read every image when it prepared them."""
