"""MaxViT-L fine-tuned on ImageNet-1k at 384 or 512, 30 epochs.

    python -m launch.train --config=configs/maxvit_large_finetune.py:size=384 \\
        --config.init.weights=runs/maxvit_large --workdir=runs/maxvit_large_384

`init.weights` takes a run, or an official or timm file trained at 224.
Recipe: official release of MaxViT-T; stochastic depth is not released for this size, the
pre-training rate is kept (the paper reports a larger one): `--config.model.drop_path_rate`.
Published: 86.40 % top-1 at 384, 86.70 % at 512 (official release). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 512
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from configs.base import maxvit


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `size=384` or `512`, `smoke=true` stops after three small steps."""
    return maxvit.finetune("maxvit_large", arg)
