"""What recipes of generation share."""

from typing import Any

from ml_collections import ConfigDict

from configs.base.complete import complete
from maxvit_jax.tasks.generation import GenerationTask

IMAGENET_SIZE = 128


def imagenet128(model: str, smoke: bool) -> ConfigDict:
    """Returns HiT-GAN's recipe for ImageNet at 128 pixels, of the release's README and defaults.

    Args:
      model: one of `maxvit_jax.gans.list_models()`, of 128 pixels.
      smoke: three steps on eight images.
    """
    config = start(model, learning_rate=1e-4)
    config.data = {
        "source": "tfds",
        "name": "imagenet2012",
        "eval_split": "validation",
        "crop_fraction": 0.875,
        "flip": True,
        "batch_size": 256,
        "eval_batch_size": 256,
        "num_workers": 8,
    }
    config.optimizer.update({"ema_decay": 0.999, "ema_start": 10})
    config.train = {"num_steps": 1_000_000, "log_every": 100}
    config.eval = {"every_steps": 20_000}
    config.checkpoint = {"every_steps": 2000}
    if smoke:
        short(config, 3)
    return complete(config, GenerationTask)


def start(model: str, *, learning_rate: float, **fields: Any) -> ConfigDict:
    """Returns a config with Adam as in HiT-GAN, at a constant rate.

    Args:
      model: one of `maxvit_jax.gans.list_models()`.
      learning_rate: of both networks.
      **fields: of the model, that differ from the variant's.
    """
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": model, **fields}
    config.task = {"kind": GenerationTask.kind}
    config.optimizer = {"learning_rate": learning_rate, "b1": 0.0, "b2": 0.99}
    config.schedule = {"kind": "constant"}
    return config


def short(config: ConfigDict, steps: int) -> None:
    """Makes a recipe one of a few steps on few images, to see that all of it works."""
    config.data.update({"batch_size": 8, "eval_batch_size": 8, "num_workers": 0})
    config.train = {"num_steps": steps, "log_every": 1}
    config.eval = {"every_steps": steps}
