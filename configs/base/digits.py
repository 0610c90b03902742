"""The digits recipes: small networks on scikit-learn's handwritten digits, minutes on a CPU."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs.base.complete import complete
from maxvit_jax.tasks.classification import ClassificationTask


def digits(model: Mapping[str, Any], steps: int) -> ConfigDict:
    """Returns the recipe [ours] that every family shares, on images of 32 pixels.

    Args:
      model: the config's `model` section; ten classes and stochastic depth come here.
      steps: of training; evaluated and saved every hundredth, or at the end of fewer.
    """
    config = ConfigDict()
    config.seed = 0
    config.model = {**model, "num_classes": 10, "drop_path_rate": 0.1}
    config.task = {"label_smoothing": 0.1}
    config.data = {
        "source": "digits",
        "train_split": "train",
        "eval_split": "test",
        "image_size": 32,
        "crop": "resize",
        "flip": False,
        "shift": 3,
        "eval_method": "resize",
        "mean": (127.5,) * 3,
        "std": (127.5,) * 3,
        "batch_size": 128,
    }
    config.optimizer = {
        "learning_rate": 2e-3,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": 0.99,
    }
    config.schedule = {"warmup_steps": steps // 10, "decay_steps": steps}
    config.train = {"num_steps": steps, "log_every": 20}
    config.eval = {"every_steps": min(steps, 100)}
    config.checkpoint = {"every_steps": 100}
    return complete(config, ClassificationTask)
