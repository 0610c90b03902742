"""IdentityFormer, RandFormer and PoolFormerV2 on ImageNet-1k at 224, from scratch, 300 epochs.

    python -m launch.train --config=configs/metaformer_baselines.py:variant=poolformerv2_s12 \\
        --workdir=runs/poolformerv2_s12

Variants: `identityformer_`, `randformer_` or `poolformerv2_`; `s12`, `s24`, `s36`, `m36` or `m48`.
Recipe: official release.
Published: IdentityFormer 74.6 / 78.2 / 79.3 / 80.0 / 80.4 %, RandFormer 76.6 / 78.2 / 79.5 / 81.2 /
81.4 %, PoolFormerV2 78.0 / 80.7 / 81.6 / 82.2 / 82.6 % top-1 (official release). Our own: not run
yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.metaformer import ADAMW, pretrain

VARIANTS = [
    name
    for family in ("identityformer", "randformer", "poolformerv2")
    for name in maxvit_jax.list_models(f"{family}_*")
]


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=poolformerv2_s12`, `smoke=true` for three small steps."""
    arg = parse_arg(arg, variant="poolformerv2_s12", smoke=False)
    check_variant(arg.variant, VARIANTS)
    return pretrain(
        arg.variant,
        smoke=arg.smoke,
        batch_size=4096,
        optimizer=ADAMW | {"learning_rate": 4e-3},
        warmup_epochs=5,
    )
