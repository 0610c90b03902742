"""A tiny detection job: rectangles of two colours, which are two classes."""

import numpy as np

from common.data.drawn_objects import DrawnObjects, Picture
from common.data.rle import bounding_box
from maxvit_jax.tasks.detection import DetectionTask
from tests.heads import micro
from tests.train import tiny

SIDE = 48
CLASS_NAMES = ("red", "blue")


def rectangles(count=8, sizes=((SIDE, SIDE),), class_names=CLASS_NAMES):
    """Pictures of up to two rectangles that don't overlap; of any size, every fourth is empty."""
    sizes = np.array([sizes[i % len(sizes)] for i in range(count)], np.int32)

    def picture(index):
        rng = np.random.default_rng(index)
        height, width = sizes[index]
        image = rng.integers(0, 60, (height, width, 3), np.uint8)
        masks = np.zeros((0 if index % 4 == 3 else 2, height, width), bool)
        labels = (index + np.arange(len(masks))) % 2
        for i, mask in enumerate(masks):
            top, left = i * height // 2 + rng.integers(1, 5), rng.integers(1, width // 2)
            mask[top : top + height // 3, left : left + width * 2 // 5] = True
            image[mask] = (250, 40, 40) if labels[i] == 0 else (40, 40, 250)
        boxes = np.array([bounding_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        return Picture(image, masks, boxes, labels)

    names = [f"rectangles/{i}" for i in range(count)]
    return DrawnObjects(picture, names, sizes, class_names)


def config(changes=None, head="retinanet"):
    model = micro.detector(head=head)
    inner = {**model.backbone_fields, "drop_path_rate": 0.0}
    values = {
        "model": {
            "name": f"poolformer_s12+{head}",
            "backbone_fields": inner,
            **micro.DETECTORS[head],
            "channels": 16,
            "extra_levels": 0,
            "anchor_size": 2.0,
        },
        "task": {"kind": "detection"},
        "data": {
            "source": "shapes",  # replaced
            "image_size": SIDE,
            "batch_size": 4,
            "scale": [1.0, 1.0],
            "max_objects": 4,
            "mean": [120.0] * 3,
            "std": [60.0] * 3,
        },
    }
    return tiny.config(values | (changes or {}))


def make_task(changes=None, head="retinanet", **sources):
    sources = {"train_source": rectangles(), "eval_source": rectangles()} | sources
    return DetectionTask(config(changes, head), **sources)
