"""A tiny segmentation job: squares of three colours, which are three classes."""

import numpy as np

from maxvit_jax.tasks.segmentation import SegmentationTask
from tests.heads import micro
from tests.train import tiny

SIDE, CLASSES = 32, 3
PALETTE = np.array([[0, 0, 0], [250, 0, 0], [0, 0, 250]], np.uint8)


class Squares:
    """Images that are their label maps in colours with noise; of any size, some pixels ignored."""

    class_names = ("ground", "red", "blue")
    palette = PALETTE

    def __init__(self, count=8, sizes=((SIDE, SIDE),), broken=()):
        self._count, self._sizes, self._broken = count, sizes, broken

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if index in self._broken:
            from common.data.images import CorruptImage

            raise CorruptImage("broken")
        rng = np.random.default_rng(index)
        height, width = self._sizes[index % len(self._sizes)]
        labels = np.zeros((height, width), np.uint8)
        for label in (1, 2):
            top, left = rng.integers(height // 2), rng.integers(width // 2)
            labels[top : top + height // 2, left : left + width // 2] = label
        image = np.clip(PALETTE[labels] + rng.integers(0, 60, (height, width, 1)), 0, 255)
        labels[:2] = 255
        return {
            "image": image.astype(np.uint8),
            "label_map": labels,
            "name": self.name(index),
        }

    def name(self, index):
        return f"squares/{index}"


def config(changes=None):
    model = micro.create(num_classes=CLASSES)
    inner = {**model.backbone_fields, "drop_path_rate": 0.0}
    values = {
        "model": {
            "name": "poolformer_s12+semantic_fpn",
            "num_classes": CLASSES,
            "backbone_fields": inner,
            "head_fields": dict(model.head_fields) | {"dropout": 0.0},
        },
        "task": {"kind": "segmentation"},
        "data": {"source": "shapes", "image_size": SIDE, "batch_size": 4, "scale": [1.0, 1.0]},
    }
    return tiny.config(values | (changes or {}))


def make_task(changes=None, **sources):
    sources = {"train_source": Squares(), "eval_source": Squares()} | sources
    return SegmentationTask(config(changes), **sources)
