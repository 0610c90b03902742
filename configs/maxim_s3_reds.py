"""MAXIM-3S deblurring on REDS, from other weights.

    python -m launch.train --config=configs/maxim_s3_reds.py \\
        --config.init.weights=maxim_s3_gopro.npz \\
        --config.data.root=data/REDS --workdir=runs/maxim_s3_reds

Data: 24,000 training pairs [paper]; 300 of the validation pairs are usually reported [paper].
Recipe: after the paper, see `configs/base/restoration.py`; the training code was never released.
It starts from other weights [weak]; that they are GoPro's is a guess [ours].
Published: 28.93 dB PSNR, 0.865 SSIM (official release).
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
        layout="reds",
        root="data/REDS",
        steps=10_000,  # [weak]
        finetune=True,  # [weak]
    )
