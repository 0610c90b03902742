"""A backbone and a head that gives every position of its map a class."""

import dataclasses

from flax import linen as nn
from jax import Array

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
from maxvit_jax.models.dense import DenseModel, require_apart, stage_strides

HEADS = {
    "semantic_fpn": SemanticFPN,
    "upernet": UPerNet,
    "deeplabv3plus": DeepLabV3Plus,
    "fpn_concat": FPNConcat,
}
_AUXILIARY_MAP = -2  # the last but one, as mmsegmentation's recipes


class SegmentationModel(DenseModel, kw_only=True):
    """Semantic segmentation.

    Attributes, beside those of `DenseModel`:
      head_name: one of `HEADS`.
      num_classes: logits per position.
      head_fields: fields of the head that differ from its own.
      auxiliary_channels: of a second head on an earlier map, that only training has; 0: there is
        none.
    """

    head_name: str
    num_classes: int = 150
    head_fields: dict = dataclasses.field(default_factory=dict)
    auxiliary_channels: int = 0

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
        maps = self.stage_maps(images, train)
        logits = [self.head(maps, train)]
        if self.auxiliary_channels:
            logits.append(self.auxiliary(list(maps.values())[_AUXILIARY_MAP], train))
        return logits

    @nn.nowrap
    def make_head(self, backbone: Backbone) -> nn.Module:
        """Returns the head as its name and fields say, for a backbone's maps."""
        hint = did_you_mean(self.head_name, HEADS)
        require(self.head_name in HEADS, f"head_name={self.head_name!r}: {hint}")
        head = HEADS[self.head_name]
        own = {
            "num_classes": self.num_classes,
            "strides": stage_strides(backbone),
            "dtype": self.dtype,
        }
        known = {field.name for field in dataclasses.fields(head)}
        given = clean_fields(head, self.head_fields)
        require_apart("head_fields", own, given)
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
        require(not channels or len(stage_strides(backbone)) >= -_AUXILIARY_MAP, short)
