"""Block, grid and axial partitions: the sparse views of multi-axis attention (MaxViT, section 3.2).

All of them work on any number of spatial axes: `[batch, *spatial, channels]` becomes
`[batch, groups, positions, channels]`, where attention or an MLP mixes positions within a group.
"""

import math
from collections.abc import Iterable

from jax import Array
from jax import numpy as jnp

from common.errors import UserError, nearest_valid


def block_partition(x: Array, window: tuple[int, ...]) -> Array:
    """Cuts a feature map into non-overlapping windows of neighbours.

    Args:
      x: `[batch, *spatial, channels]`; each spatial side is a multiple of its window side.
      window: window side per spatial axis.

    Returns:
      `[batch, windows, positions, channels]`, both row-major.

    Raises:
      UserError: a side is not a multiple; the message names the nearest sides that are.
    """
    return _partition(x, group_counts(x.shape[1:-1], window), window, positions_inner=True)


def block_unpartition(x: Array, window: tuple[int, ...], spatial: tuple[int, ...]) -> Array:
    """Inverse of `block_partition`; returns `[batch, *spatial, channels]`."""
    return _unpartition(x, group_counts(spatial, window), window, positions_inner=True)


def grid_partition(x: Array, grid: tuple[int, ...]) -> Array:
    """Spreads a fixed number of positions evenly over the map: dilated, global mixing.

    Position `(i, j)` of group `(u, v)` is pixel `(i * height / grid + u, j * width / grid + v)`.

    Args:
      x: `[batch, *spatial, channels]`; each spatial side is a multiple of its grid side.
      grid: positions per spatial axis.

    Returns:
      `[batch, groups, positions, channels]`, both row-major.

    Raises:
      UserError: a side is not a multiple; the message names the nearest sides that are.
    """
    return _partition(x, grid, group_counts(x.shape[1:-1], grid), positions_inner=False)


def grid_unpartition(x: Array, grid: tuple[int, ...], spatial: tuple[int, ...]) -> Array:
    """Inverse of `grid_partition`; returns `[batch, *spatial, channels]`."""
    return _unpartition(x, grid, group_counts(spatial, grid), positions_inner=False)


def axial_partition(x: Array, axis: int) -> Array:
    """Makes every line along one spatial axis a group.

    Args:
      x: `[batch, *spatial, channels]`.
      axis: spatial axis, counted from 0.

    Returns:
      `[batch, lines, positions, channels]`.
    """
    return block_partition(x, _line(x.shape[1:-1], axis))


def axial_unpartition(x: Array, axis: int, spatial: tuple[int, ...]) -> Array:
    """Inverse of `axial_partition`; returns `[batch, *spatial, channels]`."""
    return block_unpartition(x, _line(spatial, axis), spatial)


def pad_to_multiple(x: Array, multiple: tuple[int, ...]) -> tuple[Array, Array | None]:
    """Pads the end of every spatial axis up to a multiple.

    Args:
      x: `[batch, *spatial, channels]`.
      multiple: per spatial axis.

    Returns:
      The padded map, and a boolean map `[1, *padded, 1]` that is True at real positions (None when
      nothing had to be padded).
    """
    # In this form a symbolic side (jax.export), once padded, is known to be a multiple.
    pads = [-(-side // m) * m - side for side, m in zip(x.shape[1:-1], multiple, strict=True)]
    if all(pad == 0 for pad in pads):
        return x, None
    real = jnp.ones((1, *x.shape[1:-1], 1), bool)
    widths = [(0, 0), *((0, pad) for pad in pads), (0, 0)]
    return jnp.pad(x, widths), jnp.pad(real, widths)


def group_counts(spatial: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """Returns how many windows fit along each spatial axis.

    Raises:
      UserError: a side is not a multiple; the message names the nearest sides that are.
    """
    if len(spatial) != len(window):
        raise UserError(
            f"{len(window)} window sides {window} for {len(spatial)} spatial axes {spatial}"
        )
    for side, w in zip(spatial, window, strict=True):
        if side % w:
            raise UserError(
                f"feature map side {side} of {spatial} is not a multiple of the window or grid side"
                f" {w}; {nearest_valid(side, w)}"
            )
    return tuple(side // w for side, w in zip(spatial, window, strict=True))


def _partition(
    x: Array, outer: tuple[int, ...], inner: tuple[int, ...], *, positions_inner: bool
) -> Array:
    """Splits side i into `outer[i] * inner[i]`: one indexes positions, the other groups."""
    axes = len(outer)
    x = x.reshape(x.shape[0], *_interleave(outer, inner), x.shape[-1])
    outer_axes, inner_axes = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    order = (outer_axes, inner_axes) if positions_inner else (inner_axes, outer_axes)
    x = x.transpose(0, *order[0], *order[1], 2 * axes + 1)
    groups, positions = (outer, inner) if positions_inner else (inner, outer)
    return x.reshape(x.shape[0], math.prod(groups), math.prod(positions), x.shape[-1])


def _unpartition(
    x: Array, outer: tuple[int, ...], inner: tuple[int, ...], *, positions_inner: bool
) -> Array:
    axes = len(outer)
    groups, positions = (outer, inner) if positions_inner else (inner, outer)
    x = x.reshape(x.shape[0], *groups, *positions, x.shape[-1])
    group_axes, position_axes = range(1, 1 + axes), range(1 + axes, 1 + 2 * axes)
    order = (group_axes, position_axes) if positions_inner else (position_axes, group_axes)
    x = x.transpose(0, *_interleave(*order), 2 * axes + 1)
    spatial = (o * i for o, i in zip(outer, inner, strict=True))
    return x.reshape(x.shape[0], *spatial, x.shape[-1])


def _interleave(a: Iterable[int], b: Iterable[int]) -> list[int]:
    return [value for pair in zip(a, b, strict=True) for value in pair]


def _line(spatial: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(side if i == axis else 1 for i, side in enumerate(spatial))


PARTITIONS = {
    "block": (block_partition, block_unpartition),
    "grid": (grid_partition, grid_unpartition),
}
