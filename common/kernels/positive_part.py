"""The positive part of a map (ReLU): a selection on CPU, a maximum elsewhere.

On CPU, XLA puts a maximum, with all element-wise work up to the next product, into one fusion with
that product, which then takes several times as long; and what reads the result otherwise, such as
the taps of a depthwise convolution, is torn into passes of their own (docs/experiments.md).
"""

from jax import Array, nn
from jax import numpy as jnp

from common.kernels.choose import choose

FASTEST = {"cpu": "selection", "default": "reference"}


def positive_part(x: Array, *, implementation: str = "auto") -> Array:
    """Zero where a value is negative.

    Args:
      x: any shape.
      implementation: `"auto"`, `"reference"` (a maximum) or `"selection"`.

    Returns:
      The shape of `x`.

    Raises:
      UserError: there is no such implementation.
    """
    formulations = {"reference": nn.relu, "selection": _selection}
    return choose(implementation, formulations, FASTEST, x)


def _selection(x: Array) -> Array:
    return jnp.where(x <= 0, 0, x)  # keeps NaN
