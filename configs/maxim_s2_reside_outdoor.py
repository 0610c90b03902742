"""MAXIM-2S dehazing on RESIDE outdoor, from scratch.

    python -m launch.train --config=configs/maxim_s2_reside_outdoor.py \\
        --config.data.root=data/RESIDE --workdir=runs/maxim_s2_reside_outdoor

Data: OTS, 313,950 training pairs [paper]; SOTS outdoor, 500 test pairs.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 34.19 dB PSNR, 0.985 SSIM (official release).
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
        layout="reside_outdoor",
        root="data/RESIDE",
        steps=500_000,  # [weak]
    )
