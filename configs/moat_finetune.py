"""MOAT fine-tuned on ImageNet-1k at 384 or 512 after ImageNet-21k, 30 epochs.

    python -m launch.train --config=configs/moat_finetune.py:variant=moat_2,size=384 \\
        --config.init.weights=runs/moat_2_21k --workdir=runs/moat_2_384

`init.weights` takes a run or an official file trained at 224; the classifier starts fresh, and
tables of the position bias keep their size and are resized in the forward pass.
Variants: `moat_0` .. `moat_4`.
Recipe: no trainer was released. Epochs: the paper; normalisation: official release; all else:
MaxViT's [unverified].
Published: MOAT-2 87.5 % at 384, MOAT-3 88.4 % and MOAT-4 89.1 % at 512 top-1 (official release).
Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 512
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from common.data.preprocess import HALF_RANGE
from configs.base.imagenet import GOOGLE_1K, GOOGLE_LOSS, check_variant, finish, start, steps_of
from configs.base.maxvit import OPTIMIZER


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=moat_2`, `size=384`, `smoke=true` for three steps."""
    arg = parse_arg(arg, variant="moat_2", size=384, smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("moat_*"))
    config = start(arg.variant, batch_size=512, smoke=arg.smoke)
    config.init = {"weights": "", "reset_head": True}
    config.model.num_classes = 1000
    config.task = GOOGLE_LOSS
    config.data.update(GOOGLE_1K | {"image_size": arg.size, "mean": HALF_RANGE, "std": HALF_RANGE})
    config.optimizer = OPTIMIZER | {"learning_rate": 5e-5, "weight_decay": 1e-8}
    config.schedule = {"kind": "constant"}
    return finish(config, steps_of(30, 512), arg.smoke)
