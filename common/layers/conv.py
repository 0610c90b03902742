"""Convolutions of mobile blocks: dense and depthwise, TensorFlow-SAME padded."""

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.kernels.depthwise import depthwise_conv
from common.layers.mlp import normal_init


def conv(
    features: int, *, stride: int = 1, kernel: int = 3, dtype: DTypeLike = jnp.float32, name: str
) -> nn.Conv:
    """Square convolution with bias; SAME padding puts the odd pixel at the bottom and right."""
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding="SAME",
        dtype=dtype,
        kernel_init=normal_init,
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
