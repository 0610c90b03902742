"""Dense layers on maps of any rank, and the feed-forward block of transformers."""

from collections.abc import Callable, Sequence
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.kernels.dense import dense_layer

# Initialiser of the official MaxViT and MOAT releases. Also that of MetaFormer and Swin: PyTorch's
# `trunc_normal_(std=0.02)` cuts at -2 and 2, a hundred deviations away.
normal_init = nn.initializers.normal(0.02)


def gelu(x: Array) -> Array:
    """GELU in the tanh approximation, as in the official MaxViT."""
    return nn.gelu(x, approximate=True)


class Dense(nn.Module):
    """Dense layer over the last axis, identical to a 1x1 convolution on a map.

    Attributes:
      features: output channels.
      use_bias: adds a bias.
      dtype: compute type; parameters are float32.
      kernel_init: initialiser of the kernel `[in, features]`.
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = normal_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., in]` to `[..., features]`."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            bias = bias.astype(self.dtype)
        return dense_layer(x.astype(self.dtype), kernel.astype(self.dtype), bias)


class PartedDense(nn.Module):
    """Dense layer on a concatenation of inputs, with its output split into parts.

    Neither is materialised: every part is a product of its own with a slice of the kernel, which
    saves passes over memory where maps are large and channels few.

    Attributes:
      features: output channels of each part.
      use_bias: adds a bias.
      dtype: compute type; parameters are float32.
      kernel_init: initialiser of the kernel `[sum of inputs, sum of features]`.
    """

    features: Sequence[int]
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = normal_init

    @nn.compact
    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Maps `[..., in_i]` each to `[..., features_k]` each."""
        outputs = sum(self.features)
        shape = (sum(x.shape[-1] for x in inputs), outputs)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        bias = jnp.zeros(outputs, jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (outputs,), jnp.float32)
        parts, column = [], 0
        for width in self.features:
            columns = slice(column, column + width)
            y, row = bias[columns].astype(self.dtype), 0
            for x in inputs:
                rows = kernel[row : row + x.shape[-1], columns]
                y = y + x.reshape(-1, x.shape[-1]).astype(self.dtype) @ rows
                row += x.shape[-1]
            parts.append(y.reshape(*inputs[0].shape[:-1], width))
            column += width
        return tuple(parts)


class MLP(nn.Module):
    """Feed-forward block: expand, activation, shrink back.

    Attributes:
      expansion: hidden channels over input channels.
      activation: between the two dense layers.
      use_bias: both layers have biases.
      dtype: compute type.
    """

    expansion: int = 4
    activation: Callable[[Array], Array] = gelu
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., channels]` to the same shape."""
        channels = x.shape[-1]
        dense = partial(Dense, use_bias=self.use_bias, dtype=self.dtype)
        x = dense(self.expansion * channels, name="expand")(x)
        return dense(channels, name="shrink")(self.activation(x))
