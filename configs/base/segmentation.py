"""What recipes of semantic segmentation share."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from common.registry import BACKBONE_AND_HEAD
from configs.base.dense import backbone_section, defaults, published
from configs.base.imagenet import check_variant
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
    config = ConfigDict()
    config.seed = 0
    config.model = {
        "name": f"{backbone}{BACKBONE_AND_HEAD}{head}",
        "backbone_fields": backbone_section(backbone, backbone_fields),
        "head_fields": defaults(HEADS[head], _OF_THE_MODEL) | dict(head_fields or {}),
    }
    return config


def finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    """Completes a published recipe: `steps` of training, or three small ones."""
    config.schedule.decay_steps = steps
    return published(config, SegmentationTask, steps=steps, every=2000, smoke=smoke)
