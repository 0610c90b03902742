"""A tiny classification job, which the trainer's tests run from end to end."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from flax import linen as nn
from orbax import checkpoint as ocp

from common.data.sources import ArraySource
from common.train import sharding
from common.train.trainer import train
from maxvit_jax.tasks.classification import ClassificationTask

EXAMPLES, CLASSES, SIDE = 30, 3, 8


class Small(nn.Module):
    """Stands in for a model where the test is about the loop: compiles at once."""

    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, x, train=False):
        # No bias before BatchNorm: it has no gradient but rounding errors, which Adam blows up.
        x = nn.Dense(16, use_bias=False)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


def config(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The job's config with some fields changed, given as `{"train.num_steps": 4}`."""
    values = {
        "seed": 0,
        "model": {
            "name": "maxvit_tiny",
            "stem_widths": [4, 8],
            "widths": [64],
            "depths": [2],
            "window_size": 2,
            "num_classes": CLASSES,
            "drop_path_rate": 0.4,
        },
        "task": {"label_smoothing": 0.1, "mixup_alpha": 0.5},
        "data": {
            "source": "digits",  # replaced by arrays
            "image_size": SIDE,
            "crop": "resize",
            "eval_method": "resize",
            "flip": True,
            "shift": 1,
            "randaugment_layers": 2,
            "batch_size": 8,
        },
        "optimizer": {
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "clip_norm": 1.0,
            "ema_decay": 0.9,
        },
        "schedule": {"warmup_steps": 2, "decay_steps": 20},
        "train": {"num_steps": 6, "log_every": 2},
        "eval": {"every_steps": 3},
        "checkpoint": {"every_steps": 2, "keep_latest": 10},
    }
    return changed(values, changes or {})


def changed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets fields of a config in place, such as `{"train.num_steps": 3}`, and returns it."""
    for path, value in changes.items():
        section, _, field = path.partition(".")
        if field:
            values.setdefault(section, {})[field] = value
        else:
            values[section] = value
    return values


def quick(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config for tests of the loop with `Small`: no augmentation, no pictures."""
    plain = {
        "task": {},
        "data.flip": False,
        "data.shift": 0,
        "data.randaugment_layers": 0,
        "train.sample_images": False,
    }
    return config(plain | dict(changes or {}))


def source(broken: tuple[int, ...] = (), examples: int = EXAMPLES) -> ArraySource:
    """Images whose brightness tells their class; those in `broken` are unreadable files."""
    rng = np.random.default_rng(0)
    labels = np.arange(examples) % CLASSES
    images = rng.integers(0, 60, (examples, SIDE, SIDE, 3)) + labels[:, None, None, None] * 90
    images = [b"broken" if i in broken else x for i, x in enumerate(images.astype(np.uint8))]
    return ArraySource(images, labels, ["dark", "gray", "light"])


def make_task(config: Mapping[str, Any], *, small: bool = False, **sources) -> ClassificationTask:
    """Returns the task on `source()`."""
    sources = {"train_source": source(), "eval_source": source()} | sources
    task = ClassificationTask(config, **sources)
    if small:
        task.model = Small()
    return task


def run(
    config: Mapping[str, Any], workdir: Path, *, task: Any = None, devices: int = 1, **options
) -> dict[str, float]:
    """Trains on the first few devices, and returns what `train` returns."""
    chosen = functools.partial(sharding.make_mesh, devices=jax.devices()[:devices])
    with mock.patch.object(sharding, "make_mesh", chosen):
        return train(task or make_task(config, **options), config, str(workdir))


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the objects of metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def logged(workdir: Path, name: str) -> dict[int, float]:
    """Returns one metric by step."""
    return {line["step"]: line[name] for line in metrics(workdir) if name in line}


def steps(workdir: Path) -> list[int]:
    """Returns the steps of the checkpoints."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


def stored(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Returns every array of a checkpoint, read without our code."""
    path = workdir.resolve() / "checkpoints" / str(step) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
            reader.metadata(path).item_metadata.tree,
        )
        tree = reader.restore(path, restore_args=as_numpy)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def assert_identical(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    """Checks that two checkpoints hold the same bits."""
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert not different
