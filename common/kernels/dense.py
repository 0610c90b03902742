"""A dense layer on a map.

On CPU, positions are flattened to rows around it: the weight gradient of a product on a map would
materialise transposed copies, more than twice slower. On TPU, whose layouts of maps need not be
row-major, it is flattening that copies, before and after.
"""

from jax import Array

from common.kernels.choose import choose

FASTEST = {"tpu": "map", "default": "reference"}


def dense_layer(
    x: Array, kernel: Array, bias: Array | None = None, *, implementation: str = "auto"
) -> Array:
    """Multiplies the channels of every position by a matrix, and adds a bias.

    Args:
      x: `[..., in]`.
      kernel: `[in, features]`.
      bias: `[features]`.
      implementation: `"auto"`, `"reference"` (all positions as rows of a matrix) or `"map"`.

    Returns:
      `[..., features]`.

    Raises:
      UserError: there is no such implementation.
    """
    formulations = {"reference": _rows, "map": _map}
    fastest = FASTEST if x.ndim > 2 else {"default": "reference"}
    return choose(implementation, formulations, fastest, x, kernel, bias)


def _rows(x: Array, kernel: Array, bias: Array | None) -> Array:
    y = _map(x.reshape(-1, x.shape[-1]), kernel, bias)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _map(x: Array, kernel: Array, bias: Array | None) -> Array:
    y = x @ kernel
    return y if bias is None else y + bias
