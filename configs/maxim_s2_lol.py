"""MAXIM-2S low-light enhancement on LOL, from scratch.

    python -m launch.train --config=configs/maxim_s2_lol.py \\
        --config.data.root=data/LOL --workdir=runs/maxim_s2_lol

Data: 485 training pairs [paper], 15 test pairs.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 23.43 dB PSNR, 0.863 SSIM (official release).
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
        layout="lol",
        root="data/LOL",
        steps=14_000,  # [weak]
    )
