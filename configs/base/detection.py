"""What recipes of detection share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from common.registry import BACKBONE_AND_HEAD
from configs.base.dense import backbone_section, defaults, published
from configs.base.imagenet import check_variant
from maxvit_jax import detectors
from maxvit_jax.models.dense import DenseModel
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
    found = detectors.find(name)
    family = detectors.FAMILIES[found.family]
    own = defaults(family.model, _OF_THE_MODEL)
    variant = {n: v for n, v in family.variants[name].items() if n in own}
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": name,
        "backbone_fields": backbone_section(backbone, backbone_fields),
        **own,
        **variant,
        **fields,
    }
    return config


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


def swin_recipe(backbone: str, smoke: bool) -> ConfigDict:
    """Returns mmdetection's recipe of Mask R-CNN for Swin, once its schedule."""
    config = start(backbone, "mask_rcnn", backbone_fields={"drop_path_rate": 0.2})
    config.init = {"weights": ""}
    one_schedule(config, batch_size=16, learning_rate=1e-4)
    config.optimizer.weight_decay = 0.05
    config.schedule.warmup_steps = 1000
    return finish(config, config.schedule.decay_steps, smoke)


def finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    """Completes a published recipe: `steps` of training, or three small ones."""
    if smoke:
        config.data.update({"short_side": None, "resize": None})
        config.schedule.milestones = (1,)
    return published(config, DetectionTask, steps=steps, every=5000, smoke=smoke)
