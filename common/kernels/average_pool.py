"""Average pooling that keeps the size of a map: shifted sums on CPU, XLA's windows elsewhere.

Either way the gradient is one more pooling: the sum over a window of odd side is its own transpose.
"""

import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from common.kernels.choose import choose
from common.kernels.linear import linear_call

FASTEST = {"cpu": "shifted", "default": "reference"}


def average_pool(x: Array, size: int, *, implementation: str = "auto") -> Array:
    """Means over the window around each position; positions beyond the border do not count.

    Args:
      x: `[batch, height, width, channels]`.
      size: side of the window, odd.
      implementation: `"auto"`, `"reference"` (XLA's window sums) or `"shifted"`.

    Returns:
      `[batch, height, width, channels]`.

    Raises:
      UserError: there is no such implementation.
    """
    rows, columns = (_covered(side, size) for side in x.shape[1:3])
    share = 1 / (rows[:, None, None] * columns[:, None])
    formulations = {
        "reference": lambda x: _sum_reference(x, size),
        "shifted": lambda x: _sum_shifted(x, size),
    }
    return choose(implementation, formulations, FASTEST, x) * share.astype(x.dtype)


def _sum_reference(x: Array, size: int) -> Array:
    zero = np.zeros((), x.dtype)
    return lax.reduce_window(x, zero, lax.add, (1, size, size, 1), (1, 1, 1, 1), "SAME")


def _sum_shifted(x: Array, size: int) -> Array:
    """Adds up shifted copies: XLA fuses them into one pass over memory."""
    reach = size // 2
    batch, height, width, channels = x.shape

    def add(_: None, x: Array) -> Array:
        padded = jnp.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
        return sum(
            lax.slice(padded, (0, i, j, 0), (batch, i + height, j + width, channels))
            for i in range(size)
            for j in range(size)
        )

    return linear_call(add, add, None, x)


def _covered(side: int, size: int) -> Array:
    """How many positions of a window around each position lie on the map, along one axis."""
    first = jnp.arange(side) - size // 2
    return jnp.minimum(first + size, side) - jnp.maximum(first, 0)
