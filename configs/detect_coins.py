"""Coins on one photo, from three rows of it to the fourth: minutes on a CPU.

    python -m launch.train --config=configs/detect_coins.py --workdir=runs/coins_found
    python -m launch.evaluate --workdir=runs/coins_found

Data: scikit-image's photo of 24 coins, with our outlines (common/data/coins.json, looked at in
docs/images/coins.png); three rows are trained on, the third one is held out.
Recipe: ours. Our own: box AP50 1.0, AP 0.785, seed 0.
Hardware: two CPU cores, a minute.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.dense import SMALLER_MOAT, short_run
from configs.base.detection import start
from maxvit_jax.tasks.detection import DetectionTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    config = start(
        "tiny_moat_0",
        "retinanet",
        backbone_fields=SMALLER_MOAT,
        channels=32,
        depth=1,
        extra_levels=0,
    )
    config.data = {
        "source": "coins",
        "image_size": 192,
        "scale": (1.0, 2.0),
        "batch_size": 4,
        "eval_batch_size": 1,
    }
    return short_run(
        config,
        DetectionTask,
        steps=300,
        smoke=arg.smoke,
        learning_rate=3e-3,
        ema_decay=0.98,
        clip_norm=10.0,
    )
