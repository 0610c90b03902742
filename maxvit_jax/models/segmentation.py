"""A backbone and a head that gives every position of its map a class."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

import maxvit_jax
from common.config import require
from common.data.class_lists import IGNORED
from common.errors import did_you_mean
from common.model_fields import clean_fields
from maxvit_jax.heads.deeplabv3plus import DeepLabV3Plus
from maxvit_jax.heads.fcn import FCN
from maxvit_jax.heads.fpn_concat import FPNConcat
from maxvit_jax.heads.semantic_fpn import SemanticFPN
from maxvit_jax.heads.upernet import UPerNet
from maxvit_jax.models.backbone import Backbone

HEADS = {
    "semantic_fpn": SemanticFPN,
    "upernet": UPerNet,
    "deeplabv3plus": DeepLabV3Plus,
    "fpn_concat": FPNConcat,
}
_AUXILIARY_MAP = -2  # the last but one, as mmsegmentation's recipes


class SegmentationModel(nn.Module):
    """Semantic segmentation.

    Attributes:
      backbone_name: any of `maxvit_jax.list_models()`.
      head_name: one of `HEADS`.
      num_classes: logits per position.
      in_channels: of the images.
      backbone_fields: fields of the backbone that differ from its variant's; any size of image fits
        unless they say `pad_inputs=False`.
      head_fields: the same of the head.
      auxiliary_channels: of a second head on an earlier map, that only training has; 0: there is
        none.
      frozen_norm: training leaves the backbone's batch statistics alone.
      remat: recompute each block of the backbone in the backward pass.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    backbone_name: str
    head_name: str
    num_classes: int = 150
    in_channels: int = 3
    backbone_fields: dict = dataclasses.field(default_factory=dict)
    head_fields: dict = dataclasses.field(default_factory=dict)
    auxiliary_channels: int = 0
    frozen_norm: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Names parts `backbone`, `head` and `auxiliary`."""
        self.backbone = self.make_backbone()
        self.head = self.make_head(self.backbone)
        if self.auxiliary_channels:
            self.auxiliary = FCN(self.num_classes, self.auxiliary_channels, dtype=self.dtype)

    def __call__(self, images: Array, train: bool = False) -> Array:
        """Classifies positions.

        Args:
          images: `[batch, height, width, in_channels]`, normalised.
          train: stochastic depth and dropout (rng stream `dropout`), and batch statistics.

        Returns:
          float32 logits `[batch, ceil(height / stride), ceil(width / stride), num_classes]`; the
          stride is the head's: 4, of `fpn_concat` 8.

        Raises:
          UserError: images that don't fit the backbone.
        """
        return self.all_logits(images, train)[0]

    def all_logits(self, images: Array, train: bool = False) -> list[Array]:
        """Returns what `__call__` does, and the auxiliary head's logits at its map's size."""
        maps = self.backbone.features(images, train)
        maps = {name: x for name, x in maps.items() if name in _strides(self.backbone)}
        logits = [self.head(maps, train)]
        if self.auxiliary_channels:
            logits.append(self.auxiliary(list(maps.values())[_AUXILIARY_MAP], train))
        return logits

    @nn.nowrap
    def make_backbone(self) -> Backbone:
        """Returns the backbone as its name and fields say."""
        given = {**dense_fields(self.backbone_name), **self.backbone_fields}
        own = {"num_classes": 0, "in_channels": self.in_channels, "dtype": self.dtype}
        _require_apart("backbone_fields", own, given)
        fields = {"pad_inputs": True, **given, **own}
        fields["remat"] = self.remat or fields.get("remat", False)
        if self.frozen_norm:
            fields["frozen_norm"] = True
        return maxvit_jax.create_model(self.backbone_name, **fields)

    @nn.nowrap
    def make_head(self, backbone: Backbone) -> nn.Module:
        """Returns the head as its name and fields say, for a backbone's maps."""
        hint = did_you_mean(self.head_name, HEADS)
        require(self.head_name in HEADS, f"head_name={self.head_name!r}: {hint}")
        head = HEADS[self.head_name]
        own = {"num_classes": self.num_classes, "strides": _strides(backbone), "dtype": self.dtype}
        known = {field.name for field in dataclasses.fields(head)}
        given = clean_fields(head, self.head_fields)
        _require_apart("head_fields", own, given)
        return head(**{n: value for n, value in own.items() if n in known}, **given)

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for fields that make no model; looks at nothing but fields."""
        backbone = self.make_backbone()
        self.make_head(backbone)
        few = f"num_classes={self.num_classes}: label maps have 1 to {IGNORED}"
        require(0 < self.num_classes <= IGNORED, few)
        channels = self.auxiliary_channels
        require(channels >= 0, f"auxiliary_channels={channels} must not be negative")
        short = f"{self.backbone_name} has too few stages for an auxiliary head"
        require(not channels or len(_strides(backbone)) >= -_AUXILIARY_MAP, short)

    @property
    def size_multiple(self) -> int:
        """Height and width of images must be multiples of it."""
        return self.make_backbone().size_multiple

    @property
    def smallest_size(self) -> tuple[int, int]:
        """Height and width of a small image that fits."""
        return self.make_backbone().smallest_size

    @property
    def only_size(self) -> tuple[int, int] | None:
        """Height and width that the backbone is made for, if it takes no other."""
        return self.make_backbone().only_size


def dense_fields(backbone: str) -> Mapping[str, Any]:
    """Returns the fields that a backbone has under a head, beside its variant's."""
    family = maxvit_jax.FAMILIES[maxvit_jax.find(backbone).family]
    known = {field.name for field in dataclasses.fields(family.model)}
    # PoolFormer's dense models have a norm for each map that leaves the backbone.
    return {"feature_norms": True} if "feature_norms" in known else {}


def _strides(backbone: Backbone) -> dict[str, int]:
    """Strides of the maps that heads get, by name: those of stages."""
    strides = backbone.feature_strides
    return {name: stride for name, stride in strides.items() if name.startswith("stage_")}


def _require_apart(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    twice = ", ".join(sorted(own.keys() & given.keys()))
    require(not twice, f"{where}: {twice} follows the model's own field")
