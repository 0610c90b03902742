"""MAXIM-3S deblurring on GoPro, from scratch.

    python -m launch.train --config=configs/maxim_s3_gopro.py \\
        --config.data.root=data/GoPro --workdir=runs/maxim_s3_gopro

Data: 2,103 training pairs [paper], 1,111 test pairs.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 32.86 dB PSNR, 0.961 SSIM (official release); HIDE with the same weights: 32.83 dB,
0.956.
Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 256
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from configs.base import restoration


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after three small steps."""
    return restoration.published(
        "maxim_s3",
        arg,
        layout="gopro",
        root="data/GoPro",
        steps=600_000,  # [weak]
    )
