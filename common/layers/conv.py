"""Convolutions: dense and depthwise, TensorFlow-SAME padded, and transposed for upsampling."""

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.kernels.depthwise import depthwise_conv
from common.layers.mlp import normal_init


def conv(
    features: int,
    *,
    stride: int = 1,
    kernel: int = 3,
    padding: int | None = None,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    kernel_init: Initializer = normal_init,
    bias_init: Initializer = nn.initializers.zeros,
    name: str,
) -> nn.Conv:
    """Square convolution; padded by `padding` on each side, else SAME: the odd pixel at the bottom
    and right."""
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding="SAME" if padding is None else padding,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        name=name,
    )


class DepthwiseConv(nn.Module):
    """One square filter per channel, without bias, SAME padded.

    Attributes:
      kernel: side of the filter.
      stride: 1 or 2.
      dtype: compute type.
    """

    kernel: int = 3
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to sides `ceil(side / stride)`."""
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        kernel = self.param("kernel", normal_init, shape, jnp.float32)
        return depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)


class UpConv(nn.Module):
    """2x2 transposed convolution with stride 2: one product per output phase, interleaved.

    The kernel `[2, 2, in, features]` is laid out as in linen's `ConvTranspose`: output (a, b) of a
    pixel's four takes `kernel[1 - a, 1 - b]`.

    Attributes:
      features: output channels.
      use_bias: adds a bias.
      dtype: compute type.
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to `[batch, 2 height, 2 width, features]`."""
        batch, height, width, channels = x.shape
        shape = (2, 2, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        phases = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, -1)
        y = x.reshape(-1, channels).astype(self.dtype) @ phases.astype(self.dtype)
        y = y.reshape(batch, height, width, 2, 2, self.features).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, 2 * height, 2 * width, self.features)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y
