"""Muon: kernels as matrices, whose momentum is made orthogonal before it is their step.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), with the scale of Liu et al. 2025
(arXiv:2502.16982, section 2.2), by which AdamW's learning rates and decay suit it.
"""

from typing import Any

import jax
import optax
from optax import contrib
from optax.contrib import MuonDimensionNumbers

ADAMW_RMS = 0.2  # of a step of AdamW at rate 1, as measured there


def is_product(path: str, leaf: Any) -> bool:
    """Returns whether a parameter is the kernel of a product: not of a depthwise convolution."""
    depthwise = leaf.ndim == 4 and leaf.shape[2] == 1
    return path.split("/")[-1] == "kernel" and leaf.ndim >= 2 and not depthwise


def muon(
    learning_rate: optax.ScalarOrSchedule, *, momentum: float, mu_dtype: str, **decay: Any
) -> optax.GradientTransformation:
    """Returns Muon for parameters that are all kernels of products.

    Args:
      learning_rate: or schedule.
      momentum: of the steps, with Nesterov's look ahead.
      mu_dtype: of the stored momentum.
      **decay: `weight_decay`, and `weight_decay_mask`.
    """
    return contrib.muon(
        learning_rate,
        beta=momentum,
        mu_dtype=mu_dtype,
        consistent_rms=ADAMW_RMS,
        muon_weight_dimension_numbers=_matrices,
        **decay,
    )


def _matrices(kernels: Any) -> Any:
    """Which axes of every kernel are the rows and columns of its matrix, or matrices."""

    def axes(path: tuple, kernel: Any) -> MuonDimensionNumbers:
        layer = jax.tree_util.keystr(path[-2:-1], simple=True)
        if layer == "qkv":  # `[in, 3, heads, head_dim]`: three matrices
            return MuonDimensionNumbers((0,), (2, 3))
        if kernel.ndim == 3 and layer != "out":  # `[in, heads, head_dim]`
            return MuonDimensionNumbers((0,), (1, 2))
        return MuonDimensionNumbers(tuple(range(kernel.ndim - 1)), (kernel.ndim - 1,))

    return jax.tree_util.tree_map_with_path(axes, kernels)
