"""Batch normalisation of boxes' pooled features."""

import jax
from jax import Array
from jax.typing import DTypeLike

from common.layers.norm import batch_norm


def box_norm(x: Array, real: Array, *, train: bool, dtype: DTypeLike, name: str) -> Array:
    """Normalises with the statistics of real boxes, then ReLU; Model Garden's constants.

    Args:
      x: `[boxes, ..., channels]`.
      real: boolean `[boxes]`; False is padding. If nothing is real all boxes count: statistics of
        none are NaN, for good in the moving ones.
      train: batch statistics.
      dtype: compute type of the result.
      name: of the layer in the calling module.

    Returns:
      An array of the shape of `x`.
    """
    counted = (real | ~real.any()).reshape(-1, *(1,) * (x.ndim - 1))
    norm = batch_norm(train=train, momentum=0.99, dtype=dtype, name=name)
    return jax.nn.relu(norm(x, mask=counted))
