"""Squeeze-and-excitation (Hu et al. 2018): channel gates from the globally pooled map."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.layers.mlp import Dense, normal_init


class SqueezeExcite(nn.Module):
    """Multiplies channels by `sigmoid(W2 activation(W1 mean(x)))`.

    Attributes:
      hidden: width of the bottleneck.
      activation: swish as in MBConv; ReLU makes it MAXIM's channel attention.
      use_bias: both layers have biases.
      dtype: compute type.
      kernel_init: initialiser of both kernels.
    """

    hidden: int
    activation: Callable[[Array], Array] = nn.silu
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = normal_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        gate = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32)
        dense = partial(
            Dense, use_bias=self.use_bias, dtype=self.dtype, kernel_init=self.kernel_init
        )
        gate = self.activation(dense(self.hidden, name="reduce")(gate))
        gate = dense(x.shape[-1], name="expand")(gate)
        return x * nn.sigmoid(gate)
