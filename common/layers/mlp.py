"""Dense layers on maps of any rank, and the feed-forward block of transformers."""

from collections.abc import Callable

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

# Initialiser of the official MaxViT and MOAT releases: normal, not truncated.
normal_init = nn.initializers.normal(0.02)


def gelu(x: Array) -> Array:
    """GELU in the tanh approximation, as in the official MaxViT."""
    return nn.gelu(x, approximate=True)


class Dense(nn.Module):
    """Dense layer over the last axis, identical to a 1x1 convolution on a map.

    Leading axes are flattened around the product: on a 4-D map XLA's weight gradient would
    materialise transposed copies (more than twice slower on CPU).

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
        y = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y.reshape(*x.shape[:-1], self.features)


class MLP(nn.Module):
    """Feed-forward block: expand, activation, shrink back.

    Attributes:
      expansion: hidden channels over input channels.
      activation: between the two dense layers.
      dtype: compute type.
    """

    expansion: int = 4
    activation: Callable[[Array], Array] = gelu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., channels]` to the same shape."""
        channels = x.shape[-1]
        x = Dense(self.expansion * channels, dtype=self.dtype, name="expand")(x)
        return Dense(channels, dtype=self.dtype, name="shrink")(self.activation(x))
