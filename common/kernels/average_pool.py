"""Average pooling that keeps the size of a map: shifted sums on CPU, XLA's windows elsewhere.

Either way the gradient is one more pooling: the sum over a window of odd side is its own transpose.
"""

from functools import partial

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp


def average_pool(x: Array, size: int) -> Array:
    """Means over the window around each position; positions beyond the border do not count.

    Args:
      x: `[batch, height, width, channels]`.
      size: side of the window, odd.

    Returns:
      `[batch, height, width, channels]`.
    """
    rows, columns = (_covered(side, size) for side in x.shape[1:3])
    share = 1 / (rows[:, None, None] * columns[:, None])
    return _window_sum(x, size) * jnp.asarray(share, x.dtype)


def average_pool_reference(x: Array, size: int) -> Array:
    """`average_pool` as two of XLA's window sums, with gradients by differentiation."""
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return _sum_reference(x, size) / _sum_reference(ones, size)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _window_sum(x: Array, size: int) -> Array:
    """Sums over the windows, by the fastest formulation of the platform it runs on."""
    return lax.platform_dependent(
        x,
        cpu=lambda x: _sum_shifted(x, size),
        default=lambda x: _sum_reference(x, size),
    )


_window_sum.defvjp(
    lambda x, size: (_window_sum(x, size), None),
    lambda size, _, g: (_window_sum(g, size),),
)


def _sum_reference(x: Array, size: int) -> Array:
    zero = np.zeros((), x.dtype)
    return lax.reduce_window(x, zero, lax.add, (1, size, size, 1), (1, 1, 1, 1), "SAME")


def _sum_shifted(x: Array, size: int) -> Array:
    """Adds up shifted copies: XLA fuses them into one pass over memory."""
    reach = size // 2
    height, width = x.shape[1:3]
    padded = jnp.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    return sum(padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size))


def _covered(side: int, size: int) -> np.ndarray:
    """How many positions of a window around each position lie on the map, along one axis."""
    first = np.arange(side) - size // 2
    return np.minimum(first + size, side) - np.maximum(first, 0)
