"""MaxViT-XL on ImageNet-1k at 224, from scratch, 300 epochs.

    python -m launch.train --config=configs/maxvit_xlarge.py --workdir=runs/maxvit_xlarge

Recipe: official release for the smaller ones; stochastic depth 0.7 as TensorFlow Model Garden.
Published: none on ImageNet-1k alone; TensorFlow Model Garden's replication reports 84.8 % top-1.
Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from configs.base import maxvit


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after three small steps."""
    return maxvit.pretrain("maxvit_xlarge", arg)
