"""PoolFormer and the ablation models of its paper on ImageNet-1k at 224, from scratch, 300 epochs.

    python -m launch.train --config=configs/poolformer.py:variant=poolformer_s12 \\
        --workdir=runs/poolformer_s12

Variants: `poolformer_s12`, `s24`, `s36`, `m36`, `m48`; `metaformer_id_s12` (identity) and
`metaformer_pppa_s12_224`, `ppaa`, `pppf`, `ppff` (pooling, attention, spatial FC per stage), which
the release publishes without a script of their own: the recipe of S12 [unverified].
Recipe: official release. Its authors also saw better results with 2e-3 at the same batch.
Published: PoolFormer 77.2 / 80.3 / 81.4 / 82.1 / 82.5 %, the others 74.3 / 78.3 / 81.0 / 77.5 /
77.9 % top-1 (official release and paper). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 1024
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.metaformer import ADAMW, pretrain

VARIANTS = maxvit_jax.list_models("poolformer_*") + maxvit_jax.list_models("metaformer_*")


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=poolformer_s12`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="poolformer_s12", smoke=False)
    check_variant(arg.variant, VARIANTS)
    return pretrain(
        arg.variant,
        smoke=arg.smoke,
        batch_size=1024,
        optimizer=ADAMW | {"learning_rate": 1e-3},
        warmup_epochs=5,
    )
