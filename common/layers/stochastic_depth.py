"""Stochastic depth (Huang et al. 2016): residual branches dropped per example during training."""

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp


class StochasticDepth(nn.Module):
    """Zeroes a residual branch for whole examples and rescales the survivors by 1 / (1 - rate).

    Attributes:
      rate: probability of dropping an example's branch, in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, ..., channels]` to the same shape; draws from the rng stream `dropout`."""
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        survives = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(survives, x / keep, jnp.zeros((), x.dtype))
