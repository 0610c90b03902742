"""MaxViT-XL on ImageNet-21k at 224, from scratch, 90 epochs.

    python -m launch.train --config=configs/maxvit_xlarge_21k.py \\
        --config.data.root=/data/imagenet21k --workdir=runs/maxvit_xlarge_21k

The folder holds one folder of images per class.
Recipe: the paper's appendix (not released as code).
Published: fine-tuned on 1k afterwards, 88.51 % at 384, 88.70 % at 512 top-1. Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from configs.base import maxvit


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after three small steps."""
    return maxvit.pretrain_21k("maxvit_xlarge", arg)
