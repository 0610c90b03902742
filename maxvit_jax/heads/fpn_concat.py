"""Model Garden's segmentation head for MaxViT: a pyramid from stride 8 on, read at stride 8."""

from collections.abc import Mapping
from typing import Literal

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from maxvit_jax.heads.conv_norm import ConvNorm, PixelClassifier
from maxvit_jax.heads.fpn import FPN

FINEST_STRIDE = 8


class FPNConcat(nn.Module):
    """The finest map of the pyramid, some convolutions and a classifier.

    Attributes:
      num_classes: logits.
      strides: of the maps, by name.
      channels: of everything inside.
      fusion: of the pyramid: `"concat"` in the recipe for COCO, `"sum"` in Pascal VOC's.
      num_convs: before the classifier.
      dropout: rate before the classifier.
      init_scale: standard deviation of the classifier's initial kernel; 0.01 as in the releases,
        from which classes that look alike at first are slow to part without pretrained features.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    num_classes: int
    strides: Mapping[str, int]
    channels: int = 256
    fusion: Literal["sum", "concat"] = "concat"
    num_convs: int = 3
    dropout: float = 0.0
    init_scale: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Mapping[str, Array], train: bool) -> Array:
        """Maps features by name, finest first, to logits at stride 8."""
        coarse = {n: x for n, x in maps.items() if self.strides[n] >= FINEST_STRIDE}
        require(bool(coarse), f"fpn_concat needs maps at stride {FINEST_STRIDE} or more")
        # What the recipe has of coarser outputs, and beyond the backbone's maps, nobody reads.
        shape = {"convention": "mg", "fusion": self.fusion, "finest_only": True}
        fpn = FPN(self.channels, **shape, dtype=self.dtype, name="fpn")
        x = next(iter(fpn(coarse, train).values()))
        for i in range(self.num_convs):
            numbers = {"norm_epsilon": 1e-3, "norm_momentum": 0.99, "dtype": self.dtype}
            x = ConvNorm(self.channels, name=f"conv_{i}", **numbers)(x, train)
        fields = self.num_classes, self.dropout, self.init_scale, self.dtype
        head = PixelClassifier(*fields, name="classifier")
        return head(x, train)
