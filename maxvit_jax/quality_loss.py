"""The loss of quality assessment: how far votes must be moved (NIMA, arXiv:1709.05424, eq. 1)."""

from jax import Array
from jax import numpy as jnp


def earth_movers_distance(predicted: Array, true: Array, r: float = 2.0) -> Array:
    """Returns the earth mover's distance of distributions over ordered scores.

    `(mean over scores of |difference of cumulative distributions|^r)^(1/r)`, of each image by
    itself: the root is taken before anything is averaged over images.

    Args:
      predicted: `[..., scores]`, each with the sum 1.
      true: the same.
      r: 2 in training, 1 in reports.

    Returns:
      `[...]`, in 0..1. Where it is 0, so is its gradient.
    """
    moved = jnp.mean(jnp.abs(jnp.cumsum(predicted - true, -1)) ** r, -1)
    apart = moved > 0  # the root's own gradient there is infinite, and times 0 no number
    return jnp.where(apart, jnp.where(apart, moved, 1) ** (1 / r), 0)
