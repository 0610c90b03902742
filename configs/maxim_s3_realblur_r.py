"""MAXIM-3S deblurring on RealBlur-R, from other weights.

    python -m launch.train --config=configs/maxim_s3_realblur_r.py \\
        --config.init.weights=maxim_s3_gopro.npz \\
        --config.data.root=data/RealBlur --workdir=runs/maxim_s3_realblur_r

Data: 3,758 training pairs [paper], 980 test pairs.
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
It starts from other weights [weak]; that they are GoPro's is a guess [ours].
Published: 39.45 dB PSNR, 0.962 SSIM after alignment (official release).
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
        layout="realblur_r",
        root="data/RealBlur",
        steps=70_000,  # [weak]
        finetune=True,  # [weak]
    )
