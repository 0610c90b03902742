"""A small MOAT tells how much photos were spoilt: minutes on a CPU.

    python -m launch.train --config=configs/quality_photos.py --workdir=runs/quality
    python -m launch.evaluate --workdir=runs/quality

Data: crops of scikit-image's photos under noise, blur, JPEG compression or too little light, made
as they are read; the more, the lower the score. Other photos for evaluation.
Recipe: ours. Our own: 0.927 SRCC, seed 0.
Hardware: two CPU cores, five minutes.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.dense import SMALL_MOAT, short_run
from maxvit_jax.tasks.quality import QualityTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": "tiny_moat_0", **SMALL_MOAT}
    config.data = {
        "source": "photos",
        "crops": 100_000,
        "crop_size": 64,
        "image_size": 64,
        "batch_size": 32,
        "eval_batch_size": 60,
    }
    return short_run(
        config, QualityTask, steps=2_400, smoke=arg.smoke, learning_rate=2e-3, ema_decay=0.99
    )
