"""A tiny job of quality: the brighter an image, the higher its scores."""

import numpy as np

from common.data.score_distributions import from_moments
from maxvit_jax.tasks.quality import QualityTask
from tests.train import tiny

SIDE, SCORES = 8, (1.0, 2.0, 3.0, 4.0, 5.0)


class Patches:
    """Noisy gray images."""

    problems = {}
    summary = "gray images"

    def __init__(self, count=16):
        shares = (np.arange(count) * 7 % count + 0.5) / count
        self._distributions = from_moments(1 + 4 * shares, np.full(count, 0.7), SCORES)
        rng = np.random.default_rng(0)
        noise = rng.integers(-15, 16, (count, SIDE, SIDE, 3))
        self._images = (128 + 200 * (shares[:, None, None, None] - 0.5) + noise).astype(np.uint8)

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        return {
            "image": self._images[index],
            "distribution": self._distributions[index].astype(np.float32),
            "position": index,
            "name": self.name(index),
        }

    def name(self, index):
        return f"patches/{index}"


def config(changes=None):
    values = {
        "model": {
            "name": "maxvit_tiny",
            "stem_widths": [4, 8],
            "widths": [32],
            "depths": [1],
            "window_size": 2,
            "norm_momentum": 0.9,
            "drop_path_rate": 0.0,
        },
        "task": {"kind": "quality", "threshold": 3.0},
        "data": {"source": "photos", "scores": SCORES, "image_size": SIDE, "batch_size": 8},
        "optimizer": {
            "learning_rate": 1e-2,
            "ema_decay": 0.8,
            "groups": [{"pattern": "^(?!head/)", "learning_rate_factor": 0.5}],
        },
        "schedule": {"kind": "constant"},
        "train": {"num_steps": 60, "log_every": 20},
        "eval": {"every_steps": 60},
        "checkpoint": {"every_steps": 60},
    }
    return tiny.config(values | (changes or {}))


def make_task(changes=None, **sources):
    sources = {"train_source": Patches(), "eval_source": Patches(12)} | sources
    return QualityTask(config(changes), **sources)
