"""A small MaxViT on scikit-learn's handwritten digits: the whole machinery in minutes on a CPU.

    python -m launch.train --config=configs/maxvit_digits.py --workdir=runs/digits

Recipe: ours. Our own: 99.7 % / 99.4 % / 98.9 % test accuracy with seeds 0 / 1 / 2.
Hardware: two CPU cores, two minutes.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.digits import digits


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    model = {
        "name": "maxvit_tiny",
        "stem_widths": (16, 16),
        "widths": (32, 64),
        "depths": (1, 1),
        "window_size": 4,
        "norm_momentum": 0.9,  # a short run: 0.99 would lag behind
    }
    return digits(model, 20 if arg.smoke else 500)
