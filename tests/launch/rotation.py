"""A job of its own: by how many degrees a picture of a digit is turned (docs/contributing.md)."""

import dataclasses
import functools
import zlib
from typing import Literal

import jax
import numpy as np
from jax import numpy as jnp
from ml_collections import ConfigDict
from PIL import Image

import maxvit_jax
from common.data.images import decode
from common.data.sources import digits_source
from common.metrics.evaluator import Evaluator
from common.task import Dataset, HeadInit, LoaderConfig, Task
from configs.base.complete import complete

SIDE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotationConfig:
    kind: Literal["rotation"] = "rotation"
    largest_angle: float = 90.0


def turned(example, rng=None, *, largest):
    rng = rng or np.random.default_rng(zlib.crc32(example["name"].encode()))
    angle = rng.uniform(-largest, largest)
    return {"image": picture(example["image"], angle), "angle": np.float32(angle)}


def picture(image, angle=0.0):
    return np.asarray(Image.fromarray(decode(image)).resize((SIDE, SIDE)).rotate(angle))


class MeanError(Evaluator):
    metrics = ("error",)
    total = np.zeros(2)

    def sums(self, outputs, batch):
        error = jnp.abs(outputs["angle"] - batch["angle"]) * batch["mask"]
        return {"error": error.sum(), "count": batch["mask"].sum()}

    def update(self, outputs, batch):
        self.total = np.add(self.total, (outputs["error"], outputs["count"]))

    def compute(self):
        return {"error": float(self.total[0] / self.total[1])}


class RotationTask(Task):
    kind = "rotation"
    package = maxvit_jax
    sections = {"init": HeadInit, "task": RotationConfig, "data": LoaderConfig}
    best_metric = "-eval/error"

    def __init__(self, config):
        super().__init__(config)
        self.model = self.create_model(num_classes=1)

    def abstract_batch(self, size):
        shapes = {"image": ((size, SIDE, SIDE, 3), np.uint8), "angle": ((size,), np.float32)}
        return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}

    def loss(self, variables, batch, rng):
        images, settings = batch["image"] / 255, {"train": True, "mutable": ["batch_stats"]}
        outputs, updates = self.model.apply(variables, images, **settings)
        loss = jnp.square(outputs[:, 0] - batch["angle"] / self.task_config.largest_angle).mean()
        return loss, (updates["batch_stats"], {})

    def predict(self, variables, batch):
        outputs = self.model.apply(variables, batch["image"] / 255)
        return {"angle": outputs[:, 0] * self.task_config.largest_angle}

    def train_data(self, split="train"):
        turn = functools.partial(turned, largest=self.task_config.largest_angle)
        return Dataset(digits_source(split), turn)

    def eval_data(self):
        return {"eval": self.train_data("test")}

    def evaluators(self):
        return [MeanError()]

    def example_of_photo(self, photo):
        return {"image": picture(photo)}


def get_config(arg=""):
    fields = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
    config = ConfigDict({"seed": 0, "model": {"name": "maxvit_tiny", **fields}})
    config.data = {"batch_size": 16, "eval_batch_size": 64}
    config.optimizer, config.schedule = {"learning_rate": 3e-3}, {"kind": "constant"}
    config.train = {"num_steps": 8, "log_every": 1}
    config.eval = config.checkpoint = {"every_steps": 4}
    return complete(config, RotationTask)
