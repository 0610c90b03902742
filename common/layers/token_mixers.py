"""Token mixers: the part of a MetaFormer that exchanges information between positions.

From PoolFormer (Yu et al., CVPR 2022, https://arxiv.org/abs/2111.11418) and its successor (Yu et
al., TPAMI 2024, https://arxiv.org/abs/2210.13452); numerics follow the official releases. Each maps
`[batch, height, width, channels]` to the same shape.
"""

from functools import partial

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.kernels.average_pool import average_pool
from common.kernels.positive_part import positive_part
from common.layers.attention import WindowAttention
from common.layers.conv import DepthwiseConv
from common.layers.mlp import Dense, normal_init


class StarReLU(nn.Module):
    """`scale * relu(x)^2 + bias` with two learned numbers (second paper, section 2.3).

    Attributes:
      dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps any shape to the same."""
        scale = self.param("scale", nn.initializers.ones, (), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (), jnp.float32)
        return scale.astype(self.dtype) * jnp.square(positive_part(x)) + bias.astype(self.dtype)


class IdentityMixer(nn.Module):
    """No exchange at all: what the rest of a MetaFormer achieves.

    Attributes:
      dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    def __call__(self, x: Array) -> Array:
        """Returns `x`."""
        return x


class PoolMixer(nn.Module):
    """Mean over neighbours minus the position itself, which the residual branch adds back.

    Attributes:
      size: side of the window, odd; positions beyond the border do not count.
      dtype: compute type.
    """

    size: int = 3
    dtype: DTypeLike = jnp.float32

    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        return average_pool(x, self.size) - x


class GlobalAttention(nn.Module):
    """Self-attention between all positions, at any size; queries, keys and values lack biases.

    Attributes:
      head_dim: channels per head.
      use_bias: the output projection has a bias.
      dtype: compute type.
    """

    head_dim: int = 32
    use_bias: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape.

        Raises:
          UserError: channels are not a multiple of `head_dim`.
        """
        attend = WindowAttention(
            x.shape[1:3],
            self.head_dim,
            relative_bias=False,
            qkv_bias=False,
            out_bias=self.use_bias,
            dtype=self.dtype,
            name="attention",
        )
        return attend(x.reshape(x.shape[0], 1, -1, x.shape[-1])).reshape(x.shape)


class PartitionAttention(nn.Module):
    """MaxViT's attention with relative bias, within the groups of one partition.

    Attributes:
      kind: `"block"` (local windows) or `"grid"` (dilated, global).
      window: positions per spatial axis of a group.
      head_dim: channels per head.
      use_bias: queries, keys, values and the output projection have biases.
      pad_inputs: pad and mask when a side is not a multiple of the window.
      dtype: compute type.
    """

    kind: str
    window: tuple[int, ...]
    head_dim: int = 32
    use_bias: bool = False
    pad_inputs: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape.

        Raises:
          UserError: a side is not a multiple of the window and `pad_inputs` is False, or channels
            are not a multiple of `head_dim`.
        """
        attend = WindowAttention(
            self.window,
            self.head_dim,
            qkv_bias=self.use_bias,
            out_bias=self.use_bias,
            dtype=self.dtype,
            name="attention",
        )
        return attend.on_map(x, self.kind, pad_inputs=self.pad_inputs)


class RandomMixer(nn.Module):
    """Mixes positions by a random matrix that is never trained, in the collection `constants`.

    Rows are distributions, as attention's. The matrix ties the mixer to one size.

    Attributes:
      dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        positions = x.shape[1] * x.shape[2]

        def init() -> Array:
            return jax.nn.softmax(jax.random.uniform(self.make_rng("params"), (positions,) * 2))

        matrix = self.variable("constants", "matrix", init).value.astype(self.dtype)
        return jnp.matmul(matrix, x.reshape(x.shape[0], positions, -1)).reshape(x.shape)


class SpatialDense(nn.Module):
    """One dense layer over the positions, shared by all channels; ties the mixer to one size.

    Attributes:
      dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        positions = x.shape[1] * x.shape[2]
        kernel = self.param("kernel", normal_init, (positions,) * 2, jnp.float32)
        flat = x.reshape(x.shape[0], positions, -1)
        return jnp.matmul(kernel.T.astype(self.dtype), flat).reshape(x.shape)


class SeparableConv(nn.Module):
    """Inverted separable convolution: expand, StarReLU, 7x7 depthwise, shrink; no biases.

    Attributes:
      expansion: hidden channels over input channels.
      kernel: side of the depthwise filters.
      dtype: compute type.
    """

    expansion: int = 2
    kernel: int = 7
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        channels = x.shape[-1]
        dense = partial(Dense, use_bias=False, dtype=self.dtype)
        x = dense(self.expansion * channels, name="expand")(x)
        x = StarReLU(dtype=self.dtype, name="activation")(x)
        x = DepthwiseConv(self.kernel, dtype=self.dtype, name="depthwise_conv")(x)
        return dense(channels, name="shrink")(x)
