"""MAXIM-3S denoising on SIDD, from scratch.

    python -m launch.train --config=configs/maxim_s3_sidd.py \\
        --config.data.root=data/SIDD --workdir=runs/maxim_s3_sidd

Data: SIDD-Medium, 320 pairs [paper]; evaluated on its 1,280 validation blocks.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 39.96 dB PSNR, 0.960 SSIM (official release); DND with the same weights: 39.84 dB,
0.954.
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
        layout="sidd",
        root="data/SIDD",
        steps=600_000,  # [weak]
    )
