"""Semantic FPN (Kirillov et al. 2019, figure 3), as PoolFormer's segmentation uses it."""

import math
from collections.abc import Mapping

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.resize import bilinear
from maxvit_jax.heads.conv_norm import ConvNorm, PixelClassifier
from maxvit_jax.heads.fpn import FPN


class SemanticFPN(nn.Module):
    """A pyramid whose maps are brought to one size step by step, and added.

    Attributes:
      num_classes: logits.
      strides: of the maps, by name.
      channels: of the maps that are added.
      fpn_channels: of the pyramid.
      dropout: rate before the classifier.
      init_scale: standard deviation of the classifier's initial kernel; 0.01 as in the releases,
        from which classes that look alike at first are slow to part without pretrained features.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    num_classes: int
    strides: Mapping[str, int]
    channels: int = 128
    fpn_channels: int = 256
    dropout: float = 0.1
    init_scale: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Mapping[str, Array], train: bool) -> Array:
        """Maps features by name, finest first, to logits at the finest map's size."""
        pyramid = FPN(self.fpn_channels, dtype=self.dtype, name="fpn")(maps, train)
        height, width = next(iter(pyramid.values())).shape[1:3]
        finest, total = min(self.strides.values()), 0
        for name, x in pyramid.items():
            doublings = round(math.log2(self.strides[name] / finest))
            for i in range(max(1, doublings)):
                x = ConvNorm(self.channels, dtype=self.dtype, name=f"{name}_conv_{i}")(x, train)
                if doublings:
                    x = bilinear(x, 2 * x.shape[1], 2 * x.shape[2])
            total += bilinear(x, height, width)
        fields = self.num_classes, self.dropout, self.init_scale, self.dtype
        head = PixelClassifier(*fields, name="classifier")
        return head(total, train)
