"""Anchors: boxes of fixed sizes and shapes around every cell of every map."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean

RatioOf = Literal["height_width", "width_height"]
Outer = Literal["sizes", "ratios"]


def pyramid_anchors(
    map_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    *,
    offset: float = 0.0,
    ratio_of: RatioOf = "height_width",
    outer: Outer = "sizes",
) -> tuple[Array, ...]:
    """Anchors of all levels: see `level_anchors`.

    Args:
      map_sizes: height and width in cells per level, of any image.
      strides: pixels per cell, per level.
      sizes: per level those of its anchors.
      ratios: of every level.
      offset: where in its cell a centre is.
      ratio_of: what a ratio divides.
      outer: which of both changes last.

    Returns:
      Per level float32 `[height * width * sizes * ratios, 4]`.

    Raises:
      UserError: levels differ in number, or there is no such meaning of ratios.
    """
    counts = {"map sizes": len(map_sizes), "strides": len(strides), "anchor sizes": len(sizes)}
    require(
        len(set(counts.values())) == 1,
        f"anchors: {', '.join(f'{count} {name}' for name, count in counts.items())};"
        " one of each per level is needed",
    )
    return tuple(
        level_anchors(*level, ratios, offset=offset, ratio_of=ratio_of, outer=outer)
        for level in zip(map_sizes, strides, sizes, strict=True)
    )


def level_anchors(
    map_size: tuple[int, int],
    stride: int,
    sizes: Sequence[float],
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    *,
    offset: float = 0.0,
    ratio_of: RatioOf = "height_width",
    outer: Outer = "sizes",
) -> Array:
    """Anchors of one level.

    Args:
      map_size: height and width in cells.
      stride: pixels per cell.
      sizes: square roots of areas, in pixels.
      ratios: of sides; the area stays.
      offset: where in its cell a centre is: 0 in its corner (detectron2, mmdetection), 0.5 in its
        middle (Model Garden).
      ratio_of: whether a ratio is `"height_width"` (detectron2, mmdetection) or `"width_height"`
        (Model Garden).
      outer: anchors of a cell come by `"sizes"`, each in all shapes (detectron2, Model Garden), or
        by `"ratios"`, each in all sizes (mmdetection).

    Returns:
      float32 `[height * width * sizes * ratios, 4]`: rows outermost, then columns.

    Raises:
      UserError: there is no such meaning of ratios, or order.
    """
    for name, value, known in (("ratio_of", ratio_of, RatioOf), ("outer", outer, Outer)):
        hint = did_you_mean(value, get_args(known))
        require(value in get_args(known), f"{name}={value!r}: {hint}")
    roots = np.sqrt(np.asarray(ratios) if ratio_of == "height_width" else 1 / np.asarray(ratios))
    tables = (np.outer(sizes, shape) for shape in (1 / roots, roots))
    widths, heights = (table.ravel("C" if outer == "sizes" else "F") for table in tables)
    around = np.stack([-widths, -heights, widths, heights], -1) / 2
    rows, columns = ((jnp.arange(side) + offset) * stride for side in map_size)
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    centres = jnp.stack([x, y, x, y], -1).astype(jnp.float32)
    return (centres[:, :, None] + jnp.asarray(around, jnp.float32)).reshape(-1, 4)


def octave_sizes(
    strides: Sequence[int], size: float, octaves: int = 1
) -> tuple[tuple[float, ...], ...]:
    """Returns per level the sizes of anchors, in pixels.

    Args:
      strides: pixels per cell, per level.
      size: of the smallest, in cells.
      octaves: how many sizes divide each doubling evenly.
    """
    parts = [math.exp2(k / octaves) for k in range(octaves)]
    return tuple(tuple(size * stride * part for part in parts) for stride in strides)
