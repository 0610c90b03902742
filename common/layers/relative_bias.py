"""Relative position bias of window attention, for any number of spatial axes."""

import math

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.layers.mlp import normal_init


def relative_index(window: tuple[int, ...]) -> np.ndarray:
    """Index into the flattened table for every pair of positions of a window.

    Args:
      window: window side per spatial axis.

    Returns:
      int32 `[positions, positions]` (query, key); along each axis the entry is key minus query,
      shifted by window - 1 to start at zero.
    """
    coordinates = np.indices(window).reshape(len(window), -1)
    offset = coordinates[:, None, :] - coordinates[:, :, None]  # key minus query
    sides = [2 * w - 1 for w in window]
    shift = np.reshape([w - 1 for w in window], (-1, 1, 1))
    return np.ravel_multi_index(tuple(offset + shift), sides).astype(np.int32)


def resize_table(table: Array, window: tuple[int, ...]) -> Array:
    """Resizes bias tables for another window: bilinear, half-pixel centres, no antialiasing.

    Args:
      table: `[heads, 2 * w - 1, ...]`, one side per spatial axis.
      window: the new window sides.

    Returns:
      `[heads, 2 * window - 1, ...]`; the same array when it already fits.
    """
    shape = (table.shape[0], *(2 * w - 1 for w in window))
    if table.shape == shape:
        return table
    return jax.image.resize(table, shape, "bilinear", antialias=False)


class RelativeBias(nn.Module):
    """Learned bias per head and relative position, gathered in the forward pass.

    Attributes:
      heads: attention heads.
      window: window side per spatial axis.
      bias_window: window the table is stored for; when it differs from `window` the table is
        resized in every forward pass (the official `scale_ratio` of fine-tuning).
    """

    heads: int
    window: tuple[int, ...]
    bias_window: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self) -> Array:
        """Returns float32 `[heads, positions, positions]` (query, key)."""
        sides = [2 * w - 1 for w in self.bias_window or self.window]
        table = self.param("table", normal_init, (self.heads, *sides), jnp.float32)
        table = resize_table(table, self.window)
        positions = math.prod(self.window)
        # Flat rows make one gather; mode="clip" spares the bounds check: indices are in range.
        flat = table.reshape(self.heads, -1)
        bias = jnp.take(flat, relative_index(self.window).ravel(), axis=1, mode="clip")
        return bias.reshape(self.heads, positions, positions)
