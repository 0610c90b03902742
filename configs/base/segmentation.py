"""What recipes of semantic segmentation share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import maxvit_jax
from common.registry import BACKBONE_AND_HEAD
from configs.base.complete import complete
from configs.base.imagenet import check_variant
from maxvit_jax.models.dense import dense_fields
from maxvit_jax.models.segmentation import HEADS
from maxvit_jax.tasks.segmentation import SegmentationTask

# ADE20K as mmsegmentation's recipes train on it.
ADE20K = {
    "source": "ade20k",
    "root": "",
    "resize": (2048, 512),
    "image_size": 512,
    "scale": (0.5, 2.0),
    "max_class_share": 0.75,
    "photometric": True,
    "num_workers": 8,
}
_OF_THE_MODEL = {"num_classes", "strides", "dtype", "parent", "name"}


def start(
    backbone: str,
    head: str,
    *,
    backbone_fields: Mapping[str, Any] | None = None,
    head_fields: Mapping[str, Any] | None = None,
) -> ConfigDict:
    """Returns a config with a model whose inner fields the command line can override.

    Args:
      backbone: any of `maxvit_jax.list_models()`.
      head: one of `maxvit_jax.models.segmentation.HEADS`.
      backbone_fields: that differ from the variant's.
      head_fields: that differ from the head's defaults.
    """
    check_variant(head, HEADS, "head")
    model = maxvit_jax.create_model(backbone)
    inner = {"drop_path_rate": model.drop_path_rate, **dense_fields(backbone)}
    if not model.pad_inputs:  # a field then
        inner["pad_inputs"] = True
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(HEADS[head])
        if field.name not in _OF_THE_MODEL
    }
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": f"{backbone}{BACKBONE_AND_HEAD}{head}",
        "backbone_fields": inner | dict(backbone_fields or {}),
        "head_fields": defaults | dict(head_fields or {}),
    }
    return config


def short_run(
    config: ConfigDict, *, steps: int, smoke: bool, learning_rate: float, ema_decay: float
) -> ConfigDict:
    """Completes a recipe [ours] of minutes on a CPU; `smoke` stops after six steps."""
    steps = 6 if smoke else steps
    every = steps if smoke else steps // 2
    config.optimizer = {
        "learning_rate": learning_rate,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": ema_decay,
    }
    config.schedule = {"warmup_steps": steps // 10, "decay_steps": steps}
    config.train = {"num_steps": steps, "log_every": 2 if smoke else 50}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, SegmentationTask)


def finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    """Completes a published recipe: `steps` of training, or three small ones."""
    config.schedule.decay_steps = steps
    every = 2000
    if smoke:
        steps, every = 3, 3
        config.data.update({"batch_size": 2, "image_size": 64, "num_workers": 0})
        config.schedule.update({"warmup_steps": 0, "decay_steps": steps})
        config.init = {}
    config.train = {"num_steps": steps, "log_every": 1 if smoke else 50}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, SegmentationTask)
