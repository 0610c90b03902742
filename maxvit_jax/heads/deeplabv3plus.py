"""DeepLabv3+ (Chen et al. 2018), deeplab2's formulation, as MOAT's segmentation uses it."""

from collections.abc import Mapping

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.resize import bilinear
from maxvit_jax.heads.conv_norm import ConvNorm, PixelClassifier


class DeepLabV3Plus(nn.Module):
    """Atrous spatial pyramid pooling on the coarsest map, fused with the finest.

    Attributes:
      num_classes: logits.
      atrous_rates: dilations of the pyramid's 3x3 convolutions; for maps at stride 16.
      channels: of the pyramid.
      decoder_channels: of the fusion.
      low_level_channels: that the finest map is reduced to.
      dropout: rate behind the pyramid.
      init_scale: standard deviation of the classifier's initial kernel; 0.01 as in the releases,
        from which classes that look alike at first are slow to part without pretrained features.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    num_classes: int
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    channels: int = 256
    decoder_channels: int = 256
    low_level_channels: int = 48
    dropout: float = 0.1
    init_scale: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Mapping[str, Array], train: bool) -> Array:
        """Maps features by name, finest first, to logits at the finest map's size."""

        def conv(x: Array, features: int, name: str, kernel: int = 1, **options) -> Array:
            numbers = {"norm_epsilon": 1e-3, "norm_momentum": 0.99, "dtype": self.dtype}
            return ConvNorm(features, kernel, name=name, **numbers, **options)(x, train)

        low, *_, high = maps.values()
        size = high.shape[1:3]
        pyramid = [conv(high, self.channels, "aspp_0")]
        for i, rate in enumerate(self.atrous_rates, 1):
            pyramid.append(conv(high, self.channels, f"aspp_{i}", 3, dilation=rate))
        pooled = jnp.mean(high, (1, 2), keepdims=True, dtype=jnp.float32).astype(high.dtype)
        pooled = conv(pooled, self.channels, "aspp_pool")
        pyramid.append(jnp.broadcast_to(pooled, (*pooled.shape[:1], *size, self.channels)))
        x = conv(jnp.concatenate(pyramid, -1), self.channels, "aspp_out")
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        x = bilinear(x, *low.shape[1:3], align_corners=True)
        x = jnp.concatenate([x, conv(low, self.low_level_channels, "low_level")], -1)
        for i in range(2):
            x = conv(x, x.shape[-1], f"fusion_{i}_depthwise", 3, depthwise=True)
            x = conv(x, self.decoder_channels, f"fusion_{i}_pointwise")
        fields = self.num_classes, 0.0, self.init_scale, self.dtype
        return PixelClassifier(*fields, name="classifier")(x, train)
