"""Mobile inverted bottleneck with squeeze-and-excitation, pre-activation (MaxViT, section 3.3)."""

from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.conv import DepthwiseConv
from common.layers.mlp import Dense, gelu
from common.layers.norm import batch_norm
from common.layers.squeeze_excite import SqueezeExcite
from common.layers.stochastic_depth import StochasticDepth


class MBConv(nn.Module):
    """Expand, depthwise, squeeze-excite, shrink; added to a pooled and projected shortcut.

    Attributes:
      features: output channels; expansion and squeeze widths count from these.
      stride: 1 or 2, taken by the depthwise convolution and the shortcut's pooling.
      expansion: hidden channels over `features`.
      se_ratio: squeeze width over `features`.
      drop_path_rate: stochastic depth of the residual branch.
    norm_momentum: of the moving statistics of batch normalisation.
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type.
    """

    features: int
    stride: int = 1
    expansion: int = 4
    se_ratio: float = 0.25
    drop_path_rate: float = 0.0
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / stride), ..., features]`."""
        hidden = self.expansion * self.features
        shortcut = x
        if self.stride > 1:
            size = (self.stride, self.stride)
            # Padding (odd sides only) stays out of the mean.
            shortcut = nn.avg_pool(x, size, size, padding="SAME", count_include_pad=False)
        if x.shape[-1] != self.features:
            shortcut = Dense(self.features, dtype=self.dtype, name="shortcut_conv")(shortcut)

        norm = partial(batch_norm, train=train, momentum=self.norm_momentum, dtype=self.dtype)
        x = norm(name="pre_norm")(x)
        x = Dense(hidden, use_bias=False, dtype=self.dtype, name="expand_conv")(x)
        x = gelu(norm(name="expand_norm")(x))
        x = DepthwiseConv(stride=self.stride, dtype=self.dtype, name="depthwise_conv")(x)
        x = gelu(norm(name="depthwise_norm")(x))
        squeezed = max(1, int(self.se_ratio * self.features))
        x = SqueezeExcite(squeezed, dtype=self.dtype, name="se")(x)
        x = Dense(self.features, dtype=self.dtype, name="shrink_conv")(x)
        return shortcut + StochasticDepth(self.drop_path_rate)(x, train=train)
