"""A GAN of a few thousand parameters on coloured squares: a single stage, of 8x8 pixels."""

import numpy as np

from common.data.sources import ArraySource
from maxvit_jax.tasks.generation import GenerationTask
from tests.train.tiny import changed

SIDE = 8
FIELDS = {
    "widths": [16],
    "depths": [1],
    "heads": [2],
    "block_sizes": [0],
    "discriminator_widths": [8, 8],
    "latent_dim": 6,
    "norm_momentum": 0.9,
}


def config(changes=None):
    """The job's config with some fields changed, given as `{"train.num_steps": 4}`."""
    values = {
        "seed": 0,
        "model": {"name": "hit_gan_32", **FIELDS},
        "task": {"kind": "generation", "r1_weight": 1.0},
        "data": {"source": "digits", "batch_size": 8, "eval_batch_size": 16},
        "optimizer": {
            "learning_rate": 2e-3,
            "b1": 0.0,
            "b2": 0.99,
            "ema_decay": 0.9,
            "ema_start": 1,
            "groups": [{"pattern": "^discriminator/", "learning_rate_factor": 0.5}],
        },
        "schedule": {"kind": "constant"},
        "train": {"num_steps": 4, "log_every": 1, "sample_images": False},
        "eval": {"every_steps": 4},
        "checkpoint": {"every_steps": 2, "keep_latest": 10},
    }
    return changed(values, changes or {})


def source(count=24, *, broken=()):
    """Squares of two colours, of different sizes, on black; those in `broken` are no images."""
    images = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    for i, image in enumerate(images):
        side = 3 + i % 5
        image[1 : 1 + side, 1 : 1 + side, i % 2] = 200 + i
    images = [b"broken" if i in broken else image for i, image in enumerate(images)]
    return ArraySource(images, np.arange(count) % 2, ["red", "green"])


def make_task(changes=None, **sources):
    """Returns the task on `source()`."""
    sources = {"train_source": source(), "eval_source": source()} | sources
    return GenerationTask(config(changes), **sources)
