"""The same small MetaFormer with any token mixer, on scikit-learn's handwritten digits.

    python -m launch.train --config=configs/metaformer_ablation_digits.py:mixer=pool \\
        --workdir=runs/ablation_pool

Recipe: ours, in the manner of PoolFormerV2. Our own: 96.7 % to 99.7 % test accuracy, by mixer
(docs/experiments.md; `launch.tools.mixer_ablation` compares them). Hardware: two CPU cores, 40
seconds.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.errors import did_you_mean
from configs.base.digits import digits
from maxvit_jax.models.metaformer import MIXERS


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `mixer=pool` is any of `MIXERS`, `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, mixer="pool", smoke=False)
    require(arg.mixer in MIXERS, f"mixer={arg.mixer!r}: {did_you_mean(arg.mixer, MIXERS)}")
    return recipe((arg.mixer,) * 2, 20 if arg.smoke else 500)


def recipe(mixers: tuple[str, str], steps: int) -> ConfigDict:
    """Returns the recipe of two stages with their mixers, at strides 4 and 8."""
    model = {
        "name": "poolformerv2_s12",
        "widths": (32, 64),
        "depths": (2, 2),
        "mixers": mixers,
        "head_dim": 16,
        "window_size": 4,
        "scaled_residuals": (2,),
        "image_size": 32,
    }
    return digits(model, steps)
