"""What recipes of detection share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import maxvit_jax
from common.registry import BACKBONE_AND_HEAD
from configs.base.complete import complete
from configs.base.imagenet import check_variant
from maxvit_jax import detectors
from maxvit_jax.models.dense import DenseModel, dense_fields
from maxvit_jax.tasks.detection import DetectionTask

# COCO 2017 as the published recipes train on it.
COCO = {
    "source": "coco",
    "root": "",
    "eval_batch_size": 8,
    "num_workers": 8,
}
COCO_CLASSES, COCO_IMAGES = 80, 118_287
HEADS = ("retinanet", "mask_rcnn", "cascade_mask_rcnn")
_OF_THE_MODEL = {"num_classes", *(field.name for field in dataclasses.fields(DenseModel))}


def start(
    backbone: str, head: str, *, backbone_fields: Mapping[str, Any] | None = None, **fields: Any
) -> ConfigDict:
    """Returns a config with a model whose inner fields the command line can override.

    Args:
      backbone: any of `maxvit_jax.list_models()`.
      head: one of `HEADS`.
      backbone_fields: that differ from the variant's.
      **fields: of the detector, that differ from its defaults.
    """
    check_variant(head, HEADS, "head")
    name = f"{backbone}{BACKBONE_AND_HEAD}{head}"
    model = maxvit_jax.create_model(backbone)
    inner = {"drop_path_rate": model.drop_path_rate, **dense_fields(backbone)}
    if not model.pad_inputs:  # a field then
        inner["pad_inputs"] = True
    found = detectors.find(name)
    family = detectors.FAMILIES[found.family]
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(family.model)
        if field.name not in _OF_THE_MODEL
    }
    variant = {n: v for n, v in family.variants[name].items() if n in defaults}
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": name,
        "backbone_fields": inner | dict(backbone_fields or {}),
        **defaults,
        **variant,
        **fields,
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
        "clip_norm": 10.0,
        "ema_decay": ema_decay,
    }
    config.schedule = {"warmup_steps": steps // 10, "decay_steps": steps}
    config.train = {"num_steps": steps, "log_every": 2 if smoke else 50}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, DetectionTask)


def one_schedule(config: ConfigDict, *, batch_size: int, learning_rate: float) -> None:
    """Sets mmdetection's "1x": 12 epochs at 1333 x 800, a tenth of the rate from 8 and 11 on."""
    epoch = COCO_IMAGES // batch_size
    config.model.num_classes = COCO_CLASSES
    config.data = COCO | {
        "resize": (1333, 800),
        "image_size": 1344,
        "short_side": 800,
        "scale": (1.0, 1.0),
        "batch_size": batch_size,
    }
    config.optimizer = {"learning_rate": learning_rate}
    config.schedule = {
        "kind": "step",
        "milestones": (8 * epoch, 11 * epoch),
        "warmup_steps": 500,
        "init_value": 0.001 * learning_rate,
        "decay_steps": 12 * epoch,
    }


def finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    """Completes a published recipe: `steps` of training, or three small ones."""
    every = 5000
    if smoke:
        steps, every = 3, 3
        config.data.update(
            {
                "batch_size": 2,
                "image_size": 64,
                "short_side": None,
                "resize": None,
                "num_workers": 0,
            }
        )
        config.schedule.update({"warmup_steps": 0, "decay_steps": steps, "milestones": (1,)})
        config.init = {}
    config.train = {"num_steps": steps, "log_every": 1 if smoke else 50}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, DetectionTask)
