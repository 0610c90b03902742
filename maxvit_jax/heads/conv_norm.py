"""The layer that heads are made of: convolution, batch normalisation, ReLU."""

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.layers.norm import batch_norm

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvNorm(nn.Module):
    """Convolution without bias, SAME padded; batch normalisation; ReLU.

    Attributes:
      features: output channels; with `depthwise` they are the input's.
      kernel: side of the filter.
      dilation: distance of the filter's taps.
      depthwise: one filter per channel.
      norm_epsilon: added to the variance.
      norm_momentum: of the moving statistics.
      kernel_init: of the kernel.
      dtype: compute type; parameters and statistics are float32.
    """

    features: int
    kernel: int = 3
    dilation: int = 1
    depthwise: bool = False
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    kernel_init: Initializer = he_normal
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to `[batch, height, width, features]`."""
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            kernel_dilation=self.dilation,
            feature_group_count=x.shape[-1] if self.depthwise else 1,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = batch_norm(
            train=train,
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
            dtype=self.dtype,
            name="norm",
        )(x)
        return nn.relu(x)


class PixelClassifier(nn.Module):
    """Dropout of whole channels, then logits per position.

    Attributes:
      num_classes: logits.
      dropout: rate; needs the rng stream `dropout` in training.
      init_scale: standard deviation of the kernel's initial values.
      dtype: compute type; logits are float32.
    """

    num_classes: int
    dropout: float = 0.0
    init_scale: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to float32 `[batch, height, width, classes]`."""
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        init = nn.initializers.normal(self.init_scale)
        logits = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="logits")
        return logits(x).astype(jnp.float32)
