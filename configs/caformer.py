"""CAFormer on ImageNet-1k at 224, from scratch, 300 epochs.

    python -m launch.train --config=configs/caformer.py:variant=caformer_s18 \\
        --workdir=runs/caformer_s18

Variants: `caformer_s18`, `s36`, `m36`, `b36`.
Recipe: official release. Users saw B36 end in NaN in float16: StarReLU squares.
Published: 83.6 / 84.5 / 85.2 / 85.5 % top-1 (official release). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.metaformer import LAMB, pretrain


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=caformer_s18`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="caformer_s18", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("caformer_*"))
    return pretrain(
        arg.variant,
        smoke=arg.smoke,
        batch_size=4096,
        optimizer=LAMB | {"learning_rate": 8e-3},
        warmup_epochs=20,
    )
