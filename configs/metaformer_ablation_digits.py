"""The same small MetaFormer with any token mixer, on scikit-learn's handwritten digits.

    python -m launch.train --config=configs/metaformer_ablation_digits.py:mixer=pool \\
        --workdir=runs/ablation_pool

Recipe: ours, in the manner of PoolFormerV2. Hardware: two CPU cores.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.errors import did_you_mean
from configs.base.complete import classification
from maxvit_jax.models.metaformer import MIXERS


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `mixer=pool` is any of `MIXERS`, `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, mixer="pool", smoke=False)
    require(arg.mixer in MIXERS, f"mixer={arg.mixer!r}: {did_you_mean(arg.mixer, MIXERS)}")
    return recipe((arg.mixer,) * 2, 20 if arg.smoke else 500)


def recipe(mixers: tuple[str, str], steps: int) -> ConfigDict:
    """Returns the recipe of two stages with their mixers, at strides 4 and 8."""
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": "poolformerv2_s12",
        "widths": (32, 64),
        "depths": (2, 2),
        "mixers": mixers,
        "head_dim": 16,
        "window_size": 4,
        "scaled_residuals": (2,),
        "image_size": 32,
        "num_classes": 10,
        "drop_path_rate": 0.1,
    }
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
    return classification(config)
