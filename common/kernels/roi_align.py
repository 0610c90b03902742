"""RoIAlign (He et al. 2017): maps pooled to a small grid per box, by bilinear samples.

Samples of a box form a grid, and their bilinear weights are products of one of a row and one of a
column. So pooling is a sum of gathered cells times weights (CPU), or two products with a matrix of
weights per axis, `rows @ map @ columns.T` (elsewhere): any number of samples and a gradient without
scatters, but every box is multiplied with all cells of all maps.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from common.config import require
from common.kernels.choose import choose
from common.ops.match import LevelRule, level_of

FASTEST = {"cpu": "reference", "default": "matmul"}


def roi_align(
    features: Array,
    boxes: Array,
    stride: float,
    output_size: int,
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
    most_samples: int | None = None,
    chunk: int = 128,
    implementation: str = "auto",
) -> Array:
    """Pools boxes from one map.

    Args:
      features: `[height, width, channels]`, float32 or bfloat16.
      boxes: `[boxes, 4]`, x1, y1, x2, y2 in pixels of the image; no gradient reaches them.
      stride: pixels per cell of the map.
      output_size: side of the grid that a box is cut into.
      sampling_ratio: samples per side of each part of that grid, whose mean it is; 0: one for each
        cell that the part is long (detectron2, mmdetection).
      aligned: whether the centre of cell 0 is half a cell from the border, as that of a pixel;
        False: it lies on the border (Model Garden, with a ratio of 1). Boxes of less than a cell
        are not widened.
      most_samples: of ratio 0, whose shapes must be static: parts that are longer have this many.
        By default enough for any box that doesn't leave the map.
      chunk: how many boxes are pooled at once. On a map of H >= W cells of C channels the matrix
        products hold chunk * output_size * W * C numbers.
      implementation: `"auto"`, `"reference"` (gathers) or `"matmul"`.

    Returns:
      `[boxes, output_size, output_size, channels]` of the map's type, computed in float32. Samples
      up to one cell beyond the map have the value at its border, those further away are 0.

    Raises:
      UserError: a negative ratio, or there is no such implementation.
    """
    grid = _grid([features], output_size, sampling_ratio, aligned, most_samples)
    level = jnp.zeros(boxes.shape[:1], jnp.int32)
    return _pool(grid, [features], [stride], boxes, level, chunk, implementation)


def roi_align_levels(
    maps: Sequence[Array],
    boxes: Array,
    strides: Sequence[int],
    output_size: int,
    *,
    rule: LevelRule = "detectron2",
    sampling_ratio: int = 2,
    aligned: bool = True,
    most_samples: int | None = None,
    chunk: int = 128,
    implementation: str = "auto",
) -> Array:
    """Pools every box from the one map of a pyramid that fits its area: see `level_of`.

    Args:
      maps: per level `[height, width, channels]`, finest first.
      boxes: `[boxes, 4]`.
      strides: pixels per cell of the maps: successive powers of two.
      output_size: as the arguments below, see `roi_align`.
      rule: of `level_of`.
      sampling_ratio: samples per side of each part of a box.
      aligned: whether cells are centred as pixels are.
      most_samples: of ratio 0.
      chunk: how many boxes are pooled at once; the finest map counts.
      implementation: `"auto"`, `"reference"` or `"matmul"`.

    Returns:
      `[boxes, output_size, output_size, channels]`.

    Raises:
      UserError: strides are not successive powers of two, one per map; or as `roi_align`.
    """
    least = round(math.log2(strides[0]))
    require(
        list(strides) == [2 ** (least + i) for i in range(len(maps))],
        f"strides {tuple(strides)} of {len(maps)} maps: one per map is needed, successive powers of"
        f" two such as {tuple(2 ** (least + i) for i in range(len(maps)))}",
    )
    grid = _grid(maps, output_size, sampling_ratio, aligned, most_samples)
    level = level_of(boxes, least=least, most=least + len(maps) - 1, rule=rule) - least
    return _pool(grid, maps, strides, boxes, level, chunk, implementation)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Where samples of a box are: in `size` parts per axis, `samples` in each at most."""

    size: int
    samples: int
    adaptive: bool
    shift: float

    def along_axis(self, start: Array, stop: Array, side: Array | int) -> tuple[Array, Array]:
        """Positions and weights of samples, in cells, float32 `[size, samples]`."""
        number = jnp.arange(self.samples)
        length = stop - start
        # Compared, not divided: rounding must not add a sample.
        used = number * self.size < length if self.adaptive else number >= 0
        count = jnp.maximum(used.sum(), 1)
        parts = jnp.arange(self.size)[:, None] + (number + 0.5) / count
        position = start - self.shift + parts * (length / self.size)
        used &= (position >= -1) & (position <= side)
        return jnp.clip(position, 0, side - 1), used / count


def _grid(
    maps: Sequence[Array],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
    most_samples: int | None,
) -> _Grid:
    require(
        sampling_ratio >= 0,
        f"sampling_ratio={sampling_ratio}: samples per side, or 0 for one per cell",
    )
    longest = max(side for features in maps for side in features.shape[:2])
    samples = sampling_ratio or most_samples or -(-longest // output_size)
    return _Grid(output_size, samples, sampling_ratio == 0, 0.5 if aligned else 0.0)


def _pool(
    grid: _Grid,
    maps: Sequence[Array],
    strides: Sequence[float],
    boxes: Array,
    level: Array,
    chunk: int,
    implementation: str,
) -> Array:
    """Pools every box from the map of its level, an index into `maps`."""
    dtype = maps[0].dtype
    # In float32 already here: gradients of many boxes are added up in this type.
    maps = tuple(features.astype(jnp.float32) for features in maps)
    boxes = lax.stop_gradient(boxes).astype(jnp.float32)

    def reference(maps: tuple[Array, ...], boxes: Array, level: Array) -> Array:
        cells = jnp.concatenate([features.reshape(-1, features.shape[-1]) for features in maps])
        sizes = np.array([features.shape[:2] for features in maps])
        starts = np.cumsum(sizes.prod(1)) - sizes.prod(1)

        def one_box(box: Array, level: Array) -> Array:
            height, width = jnp.asarray(sizes)[level]
            x1, y1, x2, y2 = box * jnp.asarray([1 / stride for stride in strides])[level]
            rows, row_weights = _corners(*grid.along_axis(y1, y2, height), height)
            columns, column_weights = _corners(*grid.along_axis(x1, x2, width), width)
            index = rows[:, None, :, None] * width + columns[:, None, :]
            weights = row_weights[:, None, :, None] * column_weights[:, None, :]

            # One corner of one sample after the other: fast on a CPU, forward and backward.
            def add(total: Array, tap: tuple[Array, Array]) -> tuple[Array, None]:
                index, weight = tap
                found = cells.at[index].get(mode="promise_in_bounds")
                return total + found * weight[..., None], None

            shape = grid.size, grid.size
            taps = (x.reshape(-1, *shape) for x in (index + jnp.asarray(starts)[level], weights))
            return lax.scan(add, jnp.zeros((*shape, cells.shape[-1])), tuple(taps))[0]

        return _by_chunks(one_box, boxes, level, chunk)

    def matmul(maps: tuple[Array, ...], boxes: Array, level: Array) -> Array:
        precision = lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.HIGH
        product = partial(jnp.einsum, precision=precision, optimize=[(0, 1), (0, 1)])

        def one_box(box: Array, level: Array) -> Array:
            total = 0.0
            for i, (features, stride) in enumerate(zip(maps, strides, strict=True)):
                height, width, _ = features.shape
                x1, y1, x2, y2 = box / stride
                rows = _matrix(*grid.along_axis(y1, y2, height), height) * (level == i)
                columns = _matrix(*grid.along_axis(x1, x2, width), width)
                # The longer axis first: less is left for the second product, and in memory.
                if height >= width:
                    total += product("ih,hwc,jw->ijc", rows, features, columns)
                else:
                    total += product("jw,hwc,ih->ijc", columns, features, rows)
            return total

        return _by_chunks(one_box, boxes, level, chunk)

    formulations = {"reference": reference, "matmul": matmul}
    fastest = {"default": "matmul"} if grid.adaptive else FASTEST
    return choose(implementation, formulations, fastest, maps, boxes, level).astype(dtype)


def _by_chunks(one_box: Callable[..., Array], boxes: Array, level: Array, chunk: int) -> Array:
    """Weights of a chunk are made again in the backward pass, not kept."""
    one_box = jax.checkpoint(one_box)
    return lax.map(lambda box: one_box(*box), (boxes, level), batch_size=chunk)


def _corners(position: Array, weight: Array, side: Array) -> tuple[Array, Array]:
    """The two cells around each sample and their weights, `[2 * samples, size]`."""
    lower = jnp.floor(position)
    upper_weight = position - lower
    cells = jnp.stack([lower, jnp.minimum(lower + 1, side - 1)]).astype(jnp.int32)
    weights = jnp.stack([1 - upper_weight, upper_weight]) * weight
    return tuple(x.swapaxes(1, 2).reshape(-1, x.shape[1]) for x in (cells, weights))


def _matrix(position: Array, weight: Array, side: int) -> Array:
    """Bilinear weights of all cells along an axis, `[size, side]`."""
    distance = jnp.abs(position[..., None] - jnp.arange(side))
    return (weight[..., None] * jnp.maximum(1 - distance, 0)).sum(1)
