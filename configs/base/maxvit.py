"""The published ImageNet recipes of MaxViT; each recipe file picks a variant.

Sources: official 1k config (google-research/maxvit) unless marked; `[paper]` marks values quoted
from the paper's appendix, `[ours]` those that neither gives.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.data.preprocess import HALF_RANGE
from configs.base.imagenet import (
    GOOGLE_1K,
    GOOGLE_21K,
    GOOGLE_LOSS,
    TRAIN_IMAGES_21K,
    finish,
    start,
    steps_of,
)

OPTIMIZER = {"clip_norm": 1.0, "no_decay": "bias|scale", "ema_decay": 0.9999}


def pretrain(name: str, arg: str) -> ConfigDict:
    """ImageNet-1k from scratch at 224: 300 epochs at batch 4096.

    Args:
      name: of the model; its variant brings the stochastic depth rate.
      arg: `smoke=true` for three steps at batch 8 on the same data.
    """
    arg = parse_arg(arg, smoke=False)
    config = start(name, batch_size=4096, smoke=arg.smoke)
    steps = steps_of(300, 4096)
    config.model.num_classes = 1000
    config.task = GOOGLE_LOSS
    config.data.update(GOOGLE_1K)
    config.optimizer = OPTIMIZER | {"learning_rate": 3e-3, "weight_decay": 0.05}
    config.schedule = {"warmup_steps": 10_000, "decay_steps": steps, "end_value": 1e-5}
    return finish(config, steps, arg.smoke)


def finetune(name: str, arg: str) -> ConfigDict:
    """ImageNet-1k from weights pre-trained at 224: 30 epochs at batch 512, constant rate.

    Bias tables keep the size of window 7 and are resized in the forward pass, the head's dense
    layers start fresh, and inputs are scaled to -1..1, as officially.

    Args:
      name: of the model.
      arg: `size=384` or `512`; `smoke=true` for three steps at batch 8.
    """
    arg = parse_arg(arg, size=384, smoke=False)
    require(arg.size > 0 and arg.size % 32 == 0, f"size={arg.size}: must be a multiple of 32")
    config = start(name, batch_size=512, smoke=arg.smoke)
    config.init = {"weights": "", "reset_head": True}
    config.model.update({"num_classes": 1000, "window_size": arg.size // 32, "bias_window_size": 7})
    config.task = GOOGLE_LOSS
    config.data.update(GOOGLE_1K | {"image_size": arg.size, "mean": HALF_RANGE, "std": HALF_RANGE})
    config.optimizer = OPTIMIZER | {"learning_rate": 5e-5, "weight_decay": 1e-8}
    config.schedule = {"kind": "constant"}
    return finish(config, steps_of(30, 512), arg.smoke)


def pretrain_21k(name: str, arg: str) -> ConfigDict:
    """ImageNet-21k at 224 [paper]: 90 epochs at batch 4096, warm-up of 5, little augmentation.

    Args:
      name: of the model.
      arg: `smoke=true` for three steps at batch 8 on the same data.
    """
    arg = parse_arg(arg, smoke=False)
    config = start(name, batch_size=4096, smoke=arg.smoke)
    steps = steps_of(90, 4096, TRAIN_IMAGES_21K)
    config.task = {"label_smoothing": 0.1, "mixup_alpha": 0.0, "cutmix_alpha": 0.0}
    config.data.update(GOOGLE_21K | {"mean": HALF_RANGE, "std": HALF_RANGE})
    config.optimizer = OPTIMIZER | {"learning_rate": 1e-3, "weight_decay": 0.01}
    warmup = steps_of(5, 4096, TRAIN_IMAGES_21K)
    config.schedule = {"warmup_steps": warmup, "decay_steps": steps, "end_value": 1e-5}  # [ours]
    return finish(config, steps, arg.smoke)
