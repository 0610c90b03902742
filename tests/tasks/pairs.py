"""A tiny restoration job: noisy pairs in memory, and a MAXIM that compiles fast."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from common.data.images import CorruptImage
from tests.train.tiny import changed

MODEL = {
    "name": "maxim_s1",
    "features": 4,
    "depth": 1,
    "num_groups": 1,
    "num_bottleneck_blocks": 1,
    "num_supervision_scales": 1,
    "use_global_mlp": False,  # the bottleneck has them all the same
    "use_cross_gating": False,
    "high_res_stages": 1,
    "block_size_hr": [4, 4],
    "grid_size_hr": [4, 4],
    "block_size_lr": [2, 2],
    "grid_size_lr": [2, 2],
}
SIDE = 16


class Small(nn.Module):
    """Stands in for a MAXIM of two stages and scales where the test is about the task: compiles at
    once."""

    @nn.compact
    def __call__(self, images, train=False):
        outputs = []
        for stage in range(2):
            x = nn.Dense(3, name=f"dense_{stage}")(images) + 0.8 * images
            x = nn.Dropout(0.1, deterministic=not train)(x) if stage == 0 else x
            outputs.append((x, nn.avg_pool(x, (2, 2), (2, 2))))
        return tuple(outputs)


class Pairs:
    """Smooth pictures of size `sides`, and the same darkened; `clean` ones have no input."""

    def __init__(self, count=12, sides=(24, 20), clean=False, broken=()):
        rng = np.random.default_rng(0)
        y, x = np.mgrid[: sides[0], : sides[1]] / max(sides)
        waves = [np.sin(6 * (a * y + b * x + c)) for a, b, c in rng.uniform(-1, 1, (count * 3, 3))]
        images = 120 + 60 * np.stack(waves, -1)  # [height, width, count * 3]
        images = np.moveaxis(images.reshape(*sides, count, 3), 2, 0)
        self.targets = np.rint(images).astype(np.uint8)
        self.inputs = None if clean else np.rint(images * 0.5 + 20).astype(np.uint8)
        self.broken = broken

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        if index in self.broken:
            raise CorruptImage(self.name(index))
        example = {"target": self.targets[index], "name": self.name(index)}
        return example if self.inputs is None else example | {"input": self.inputs[index]}

    def name(self, index):
        return f"pair {index}"


def config(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The job's config with some fields changed, given as `{"train.num_steps": 4}`."""
    values = {
        "seed": 0,
        "model": dict(MODEL),
        "task": {"mixup_probability": 0.5},
        "data": {
            "source": "pairs",  # replaced by arrays
            "crop_size": SIDE,
            "eval_crop_size": SIDE,
            "batch_size": 4,
        },
        "optimizer": {"learning_rate": 1e-3, "ema_decay": 0.9},
        "schedule": {"decay_steps": 20, "end_value": 1e-6},
        "train": {"num_steps": 4, "log_every": 1},
        "eval": {"every_steps": 2},
        "checkpoint": {"every_steps": 2, "keep_latest": 10},
    }
    return changed(values, changes or {})
