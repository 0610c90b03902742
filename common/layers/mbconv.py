"""Mobile inverted bottleneck, pre-activation (MaxViT, section 3.3; MOAT, section 3.1)."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.kernels.map_layout import images_by_channels
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
      pool_size: side of the shortcut's average pooling at stride 2; the stride unless given.
      se_ratio: squeeze width over `features`; None: no squeeze-and-excitation.
      activation: after expanding and after the depthwise convolution.
      drop_path_rate: stochastic depth of the residual branch.
      norm_momentum: of the moving statistics of batch normalisation.
      frozen_norm: training uses the moving statistics and leaves them alone.
      dtype: compute type.
    """

    features: int
    stride: int = 1
    expansion: int = 4
    pool_size: int | None = None
    se_ratio: float | None = 0.25
    activation: Callable[[Array], Array] = gelu
    drop_path_rate: float = 0.0
    norm_momentum: float = 0.99
    frozen_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / stride), ..., features]`."""
        hidden = self.expansion * self.features
        shortcut = x
        if self.stride > 1:
            size, strides = (self.pool_size or self.stride,) * 2, (self.stride,) * 2
            # Padding stays out of the mean.
            shortcut = nn.avg_pool(x, size, strides, padding="SAME", count_include_pad=False)
        if x.shape[-1] != self.features:
            shortcut = Dense(self.features, dtype=self.dtype, name="shortcut_conv")(shortcut)

        moving = train and not self.frozen_norm
        norm = partial(batch_norm, train=moving, momentum=self.norm_momentum, dtype=self.dtype)
        x = images_by_channels(norm(name="pre_norm")(x))
        x = Dense(hidden, use_bias=False, dtype=self.dtype, name="expand_conv")(x)
        x = images_by_channels(x)
        x = self.activation(norm(name="expand_norm")(x))
        x = DepthwiseConv(stride=self.stride, dtype=self.dtype, name="depthwise_conv")(x)
        x = self.activation(norm(name="depthwise_norm")(x))
        if self.se_ratio is not None:
            squeezed = max(1, int(self.se_ratio * self.features))
            x = SqueezeExcite(squeezed, dtype=self.dtype, name="se")(x)
        x = Dense(self.features, dtype=self.dtype, name="shrink_conv")(images_by_channels(x))
        x = images_by_channels(x)
        return shortcut + StochasticDepth(self.drop_path_rate)(x, train=train)
