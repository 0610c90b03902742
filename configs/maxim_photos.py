"""A small MAXIM denoises photos at sigma 25: the whole machinery in minutes on a CPU.

    python -m launch.train --config=configs/maxim_photos.py --workdir=runs/photos

Data: the photos that come with scikit-image, a fixed list of them held out; Gaussian noise of
standard deviation 25 (of 255), neither clipped nor rounded, is added as they are read.
Recipe: ours. Our own: 31.4 dB on central crops, 30.6 dB on whole photos (noisy: 20.5 dB), seed 0.
Hardware: two CPU cores, minutes.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from maxim_jax.tasks.restoration import RestorationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": "maxim_s1",
        "features": 16,
        "depth": 2,
        "num_groups": 1,
        "num_bottleneck_blocks": 1,
        "num_supervision_scales": 1,
        "block_size_hr": (8, 8),
        "grid_size_hr": (8, 8),
    }
    # Of Fourier norms that which keeps the energy: both terms stay of one size.
    config.task = {"frequency_norm": "ortho"}
    config.data = {
        "source": "photos",
        "degradations": ({"kind": "gaussian_noise", "sigma": 25.0},),
        "crop_size": 64,
        "eval_crop_size": 256,
        "batch_size": 4,
        "eval_batch_size": 3,
    }
    steps = 10 if arg.smoke else 1200
    config.optimizer = {
        "kind": "muon",
        "learning_rate": 2e-3,
        "clip_norm": 1.0,
        "ema_decay": 0.99,
    }
    config.schedule = {"warmup_steps": steps // 20, "decay_steps": steps, "end_value": 1e-6}
    config.train = {"num_steps": steps, "log_every": 5 if arg.smoke else 50}
    config.eval = {"every_steps": steps if arg.smoke else 300}
    config.checkpoint = {"every_steps": steps if arg.smoke else 300}
    return complete(config, RestorationTask)
