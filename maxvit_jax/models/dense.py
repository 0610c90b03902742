"""What models for dense tasks share: a backbone of any family, by its name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

import maxvit_jax
from common.config import require
from maxvit_jax.models.backbone import Backbone


class DenseModel(nn.Module, kw_only=True):
    """A backbone under heads that see its stages' maps.

    Attributes:
      backbone_name: any of `maxvit_jax.list_models()`.
      in_channels: of the images.
      backbone_fields: fields of the backbone that differ from its variant's; any size of image fits
        unless they say `pad_inputs=False`.
      frozen_norm: training leaves the backbone's batch statistics alone.
      remat: recompute each block of the backbone in the backward pass.
      dtype: compute type; parameters, statistics and what heads return are float32.
    """

    backbone_name: str
    in_channels: int = 3
    backbone_fields: dict = dataclasses.field(default_factory=dict)
    frozen_norm: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def stage_maps(self, images: Array, train: bool) -> dict[str, Array]:
        """Returns the maps of the stages of `self.backbone` by name, finest first.

        Raises:
          UserError: images that don't fit the backbone.
        """
        maps = self.backbone.features(images, train)
        return {name: x for name, x in maps.items() if name in stage_strides(self.backbone)}

    @nn.nowrap
    def make_backbone(self) -> Backbone:
        """Returns the backbone as its name and fields say."""
        given = {**dense_fields(self.backbone_name), **self.backbone_fields}
        own = {"num_classes": 0, "in_channels": self.in_channels, "dtype": self.dtype}
        require_apart("backbone_fields", own, given)
        fields = {"pad_inputs": True, **given, **own}
        fields["remat"] = self.remat or fields.get("remat", False)
        if self.frozen_norm:
            fields["frozen_norm"] = True
        return maxvit_jax.create_model(self.backbone_name, **fields)

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


def stage_strides(backbone: Backbone) -> dict[str, int]:
    """Returns strides of the maps that heads get, by name: those of stages."""
    strides = backbone.feature_strides
    return {name: stride for name, stride in strides.items() if name.startswith("stage_")}


def require_apart(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises UserError for fields that are given but follow from the model's own."""
    twice = ", ".join(sorted(own.keys() & given.keys()))
    require(not twice, f"{where}: {twice} follows the model's own field")
