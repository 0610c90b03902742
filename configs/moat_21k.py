"""MOAT on ImageNet-21k at 224, from scratch, 90 epochs.

    python -m launch.train --config=configs/moat_21k.py:variant=moat_2 \\
        --config.data.root=/data/imagenet21k --workdir=runs/moat_2_21k

The folder holds one folder of images per class. Variants: `moat_0` .. `moat_4`.
Recipe: no trainer was released. Epochs and size: the paper; normalisation: official release of
weights that began so; all else: MaxViT's on the same data [unverified].
Published: fine-tuned on 1k afterwards, MOAT-2 87.5 % at 384, MOAT-3 88.4 % and MOAT-4 89.1 % at 512
top-1 (official release). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 4096
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from common.data.preprocess import HALF_RANGE
from configs.base.imagenet import (
    GOOGLE_21K,
    TRAIN_IMAGES_21K,
    check_variant,
    finish,
    start,
    steps_of,
)
from configs.base.maxvit import OPTIMIZER


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=moat_2`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="moat_2", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("moat_*"))
    config = start(arg.variant, batch_size=4096, smoke=arg.smoke)
    config.task = {"label_smoothing": 0.1}
    config.data.update(GOOGLE_21K | {"mean": HALF_RANGE, "std": HALF_RANGE})
    config.optimizer = OPTIMIZER | {"learning_rate": 1e-3, "weight_decay": 0.01}
    steps, warmup = (steps_of(epochs, 4096, TRAIN_IMAGES_21K) for epochs in (90, 5))
    config.schedule = {"warmup_steps": warmup, "decay_steps": steps, "end_value": 1e-5}
    return finish(config, steps, arg.smoke)
