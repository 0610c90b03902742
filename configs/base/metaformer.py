"""The published ImageNet-1k recipes of PoolFormer and the MetaFormer baselines.

Sources: the training scripts of sail-sg/poolformer and sail-sg/metaformer with timm's definitions
of what they ask for; `[ours]` marks what differs:

* bfloat16, where PoolFormer took mixed float16 and the others float32;
* learning rates change with every step, there with every epoch;
* mixup and CutMix draw a share for every image, there one for every batch.
"""

from ml_collections import ConfigDict

from configs.base.imagenet import TIMM_1K, TIMM_LOSS, finish, start, steps_of
from maxvit_jax.data_defaults import data_defaults

ADAMW = {"weight_decay": 0.05, "no_decay": "bias|scale"}
LAMB = ADAMW | {"kind": "lamb", "eps": 1e-6, "clip_norm": 1.0}  # eps and clipping: timm's LAMB


def pretrain(
    name: str, *, smoke: bool, batch_size: int, optimizer: dict, warmup_epochs: int
) -> ConfigDict:
    """From scratch at 224: 300 epochs of cosine decay and 10 at its end.

    Args:
      name: of the model; its variant brings stochastic depth and dropout of the head.
      smoke: three steps at batch 8 on the same data.
      batch_size: of an optimizer step.
      optimizer: `ADAMW` or `LAMB` with a learning rate.
      warmup_epochs: linear from 1e-6, on top of the cosine's first epochs.
    """
    config = start(name, batch_size=batch_size, smoke=smoke)
    config.model.num_classes = 1000
    config.task = TIMM_LOSS
    crop = data_defaults(name).eval_crop_fraction
    config.data.update(TIMM_1K | {"eval_crop_fraction": crop})
    config.optimizer = optimizer
    config.schedule = {
        "init_value": 1e-6,
        "warmup_steps": steps_of(warmup_epochs, batch_size),
        "decay_from": "start",
        "decay_steps": steps_of(300, batch_size),
        "end_value": 1e-5,
    }
    return finish(config, steps_of(310, batch_size), smoke)


def finetune(
    name: str,
    *,
    size: int,
    smoke: bool,
    optimizer: dict,
    drop_path_rate: float,
    head_dropout: float,
) -> ConfigDict:
    """From weights for 224 at a larger size: 30 epochs at batch 1024, constant rate, no mixing.

    Args:
      name: of the model.
      size: of images, in pixels.
      smoke: three steps at batch 8 on the same data.
      optimizer: `ADAMW` or `LAMB` with a learning rate.
      drop_path_rate: stochastic depth.
      head_dropout: dropout of the head.
    """
    config = start(name, batch_size=1024, smoke=smoke)
    config.init = {"weights": ""}
    config.model.update(
        {"num_classes": 1000, "drop_path_rate": drop_path_rate, "head_dropout": head_dropout}
    )
    config.task = TIMM_LOSS | {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}
    crop = data_defaults(name, size).eval_crop_fraction
    config.data.update(TIMM_1K | {"image_size": size, "eval_crop_fraction": crop})
    config.optimizer = optimizer | {"ema_decay": 0.9999}
    config.schedule = {"kind": "constant"}
    return finish(config, steps_of(30, 1024), smoke)
