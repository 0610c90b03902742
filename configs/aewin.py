"""AEWin on ImageNet-1k at 224, from scratch, 300 epochs.

    python -m launch.train --config=configs/aewin.py:variant=aewin_tiny --workdir=runs/aewin_tiny

Variants: `aewin_tiny`, `aewin_small`, `aewin_base`.
Recipe: nothing was released; Swin's, whose layout the model has [unverified for AEWin].
Published: 83.6 % (first version of the paper) or 83.1 % (its revision) top-1 for tiny, 84.7 % for
base. Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 1024
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.imagenet import TIMM_1K, TIMM_LOSS, check_variant, finish, start, steps_of

DROP_PATH = {"aewin_tiny": 0.2, "aewin_small": 0.3, "aewin_base": 0.5}  # [unverified] Swin's


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=aewin_tiny`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="aewin_tiny", smoke=False)
    check_variant(arg.variant, DROP_PATH)
    config = start(arg.variant, batch_size=1024, smoke=arg.smoke)
    config.model.update({"num_classes": 1000, "drop_path_rate": DROP_PATH[arg.variant]})
    config.task = TIMM_LOSS
    config.data.update(TIMM_1K | {"interpolation": "bicubic"})
    config.optimizer = {
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "no_decay": "bias|scale",
        "clip_norm": 5.0,
    }
    steps = steps_of(300, 1024)
    config.schedule = {
        "init_value": 1e-6,
        "warmup_steps": steps_of(20, 1024),
        "decay_from": "start",
        "decay_steps": steps,
        "end_value": 1e-5,
    }
    return finish(config, steps, arg.smoke)
