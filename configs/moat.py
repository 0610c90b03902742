"""MOAT on ImageNet-1k from scratch, 300 epochs.

    python -m launch.train --config=configs/moat.py:variant=moat_0 --workdir=runs/moat_0

Variants: `moat_0` .. `moat_4` at 224, `tiny_moat_0` .. `tiny_moat_3` at 256.
Recipe: no trainer was released. Epochs and sizes: the paper; stochastic depth and normalisation:
official release; all else: MaxViT's, of the same lineage [unverified].
Published: MOAT-0 83.3, MOAT-1 84.2, tiny-MOAT 76.6 / 79.2 / 81.7 / 83.3 % top-1 (official release);
the larger ones started from ImageNet-22k. Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import GOOGLE_1K, GOOGLE_LOSS, check_variant, finish, start, steps_of
from configs.base.maxvit import OPTIMIZER


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=moat_0`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="moat_0", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("*moat_*"))
    config = start(arg.variant, batch_size=4096, smoke=arg.smoke)
    config.model.num_classes = 1000
    config.task = GOOGLE_LOSS
    size = 256 if arg.variant.startswith("tiny_") else 224
    config.data.update(GOOGLE_1K | {"image_size": size})
    config.optimizer = OPTIMIZER | {"learning_rate": 3e-3, "weight_decay": 0.05}
    steps = steps_of(300, 4096)
    config.schedule = {"warmup_steps": 10_000, "decay_steps": steps, "end_value": 1e-5}
    return finish(config, steps, arg.smoke)
