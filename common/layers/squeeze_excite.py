"""Squeeze-and-excitation (Hu et al. 2018): channel gates from the globally pooled map."""

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.mlp import Dense


class SqueezeExcite(nn.Module):
    """Multiplies channels by `sigmoid(W2 swish(W1 mean(x)))`.

    Attributes:
      hidden: width of the bottleneck.
      dtype: compute type.
    """

    hidden: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        gate = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32)
        gate = nn.silu(Dense(self.hidden, dtype=self.dtype, name="reduce")(gate))
        gate = Dense(x.shape[-1], dtype=self.dtype, name="expand")(gate)
        return x * nn.sigmoid(gate)
