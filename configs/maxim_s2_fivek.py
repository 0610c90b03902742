"""MAXIM-2S retouching on FiveK (expert C), from scratch.

    python -m launch.train --config=configs/maxim_s2_fivek.py \\
        --config.data.root=data/FiveK --workdir=runs/maxim_s2_fivek

Data: 4,500 training pairs [paper], 500 test pairs.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
Published: 26.15 dB PSNR, 0.945 SSIM (official release).
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
        layout="fivek",
        root="data/FiveK",
        steps=180_000,  # [weak]
    )
