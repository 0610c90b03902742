"""MAXIM-2S deraining on Rain13k, from scratch.

    python -m launch.train --config=configs/maxim_s2_rain13k.py \\
        --config.data.root=data/Rain13k --workdir=runs/maxim_s2_rain13k

Data: 13,712 training pairs; five test sets.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 33.24 dB PSNR, 0.933 SSIM, mean of the five sets, on luma (official release).
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
        layout="rain13k",
        root="data/Rain13k",
        steps=500_000,  # [weak]
    )
