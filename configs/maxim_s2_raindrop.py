"""MAXIM-2S raindrop removal on Raindrop, from scratch.

    python -m launch.train --config=configs/maxim_s2_raindrop.py \\
        --config.data.root=data/Raindrop --workdir=runs/maxim_s2_raindrop

Data: 861 training pairs [paper], 58 test pairs (set A).
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 31.87 dB PSNR, 0.935 SSIM (official release).
Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 256
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from configs.base import restoration


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after three small steps."""
    return restoration.published(
        "maxim_s2",
        arg,
        layout="raindrop",
        root="data/Raindrop",
        steps=80_000,  # [weak]
    )
