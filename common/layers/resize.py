"""Resizing maps, and 1x1 convolutions of maps of several sizes.

Integer factors are slices and sums: `jax.image.resize` multiplies by dense matrices, which at full
resolution costs more than the convolutions around it.
"""

from collections.abc import Sequence

import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.errors import UserError


def resize(x: Array, height: int) -> Array:
    """Bilinear resize by an integer factor, up or down, as `jax.image.resize` with antialiasing.

    Half-pixel centres. Upsampling clamps at the border; downsampling widens the triangle filter by
    the factor and renormalises it at the border.

    Args:
      x: `[batch, height, width, channels]`.
      height: to resize to; the width follows.

    Raises:
      UserError: one height is not a multiple of the other, or an odd factor when downsampling.
    """
    old = x.shape[1]
    if height % old == 0:
        step, factor = _upsample, height // old
    elif old % (2 * height) == 0 and x.shape[2] % (old // height) == 0:
        step, factor = _downsample, old // height
    else:
        raise UserError(f"{old}x{x.shape[2]} is not resized to height {height} by an even factor")
    return x if factor == 1 else step(step(x, factor, 1), factor, 2)


def nearest_downsample(x: Array, factor: int) -> Array:
    """Nearest resize with half-pixel centres: takes pixel `factor // 2` of every `factor`."""
    start = factor // 2
    return x[:, start::factor, start::factor]


def bilinear(x: Array, height: int, width: int, *, align_corners: bool = False) -> Array:
    """Bilinear resize to any size without antialiasing; what lies outside repeats the border.

    Args:
      x: `[batch, height, width, channels]`.
      height: of the result.
      width: of the result.
      align_corners: the centres of the corner pixels stay where they are (deeplab2), instead of the
        corners of the map.
    """
    for axis, size in ((1, height), (2, width)):
        side = x.shape[axis]
        if size == side:
            continue
        if size % side == 0 and not align_corners:
            x = _upsample(x, size // side, axis)
            continue
        last = max(size - 1, 1)
        places = np.arange(size)
        scale = (side - 1) / last if align_corners else side / size
        centres = places * scale if align_corners else (places + 0.5) * scale - 0.5
        distances = np.clip(centres, 0, side - 1)[:, None] - np.arange(side)
        x = _product(np.maximum(0, 1 - np.abs(distances)), x, axis)
    return x


def interpolated(x: Array, places: Array, last: int | Array, axis: int) -> Array:
    """Interpolates linearly along an axis, at places that may be traced.

    Args:
      x: of any shape.
      places: `[count]`, in units of positions; those outside take the border's value.
      last: position that is the border; may be traced.
      axis: of `x`; it becomes `count` long.
    """
    places = jnp.clip(places, 0, last)
    before = jnp.floor(places)
    share = (places - before).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    after = jnp.minimum(before + 1, last)
    first, second = (jnp.take(x, index.astype(jnp.int32), axis) for index in (before, after))
    return first + share * (second - first)


def nearest(x: Array, height: int, width: int) -> Array:
    """Nearest resize as PyTorch's: position i takes `floor(i * side / size)`.

    Args:
      x: `[batch, height, width, channels]`.
      height: of the result.
      width: of the result.
    """
    for axis, size in ((1, height), (2, width)):
        side = x.shape[axis]
        if size != side:
            if size % side == 0:
                x = jnp.repeat(x, size // side, axis)
            else:
                x = jnp.take(x, np.arange(size) * side // size, axis)
    return x


def adaptive_average_pool(x: Array, side: int) -> Array:
    """Means over a grid of parts that overlap where the sides don't divide, as PyTorch's.

    Args:
      x: `[batch, height, width, channels]`.
      side: of the result, `[batch, side, side, channels]`.
    """
    for axis in (1, 2):
        size, parts = x.shape[axis], np.arange(side)
        start, end = parts * size // side, -(-(parts + 1) * size // side)
        columns = np.arange(size)
        inside = (columns >= start[:, None]) & (columns < end[:, None])
        x = _product((inside / inside.sum(1, keepdims=True)).astype(np.float32), x, axis)
    return x


class MultiScaleDense(nn.Module):
    """1x1 convolution of the concatenation of maps, the smaller ones upsampled bilinearly.

    A sum of products instead, each at its map's own resolution: bilinear weights sum to one, so
    that upsampling commutes with a 1x1 convolution and its bias.

    Attributes:
      features: output channels.
      use_bias: adds a bias.
      dtype: compute type; parameters are float32.
      kernel_init: initialiser of the kernel `[sum of channels, features]`.
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> Array:
        """Maps `[batch, height / f, width / f, channels]` each to one, as large as the largest."""
        inputs = sum(x.shape[-1] for x in maps)
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), jnp.float32)
        rows = {}  # of the kernel, by map: one that comes twice is multiplied once
        start = 0
        for x in maps:
            part = kernel[start : start + x.shape[-1]]
            _, earlier = rows.get(id(x), (x, 0))
            rows[id(x)] = x, earlier + part
            start += x.shape[-1]
        sums: dict[int, Array] = {}  # by height: maps of one size are upsampled together
        for x, part in rows.values():
            y = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ part.astype(self.dtype)
            y = y.reshape(*x.shape[:-1], self.features)
            sums[x.shape[1]] = sums[x.shape[1]] + y if x.shape[1] in sums else y
        y = sum(resize(part, max(sums)) for part in sums.values())
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y


def _product(weights: np.ndarray, x: Array, axis: int) -> Array:
    """Replaces an axis by weighted sums over it."""
    spec = "oh,bhwc->bowc" if axis == 1 else "ow,bhwc->bhoc"
    return jnp.einsum(spec, jnp.asarray(weights, x.dtype), x)


def _upsample(x: Array, factor: int, axis: int) -> Array:
    """Output `factor * i + k` lies `(k + 1/2) / factor - 1/2` from input i."""
    side = x.shape[axis]
    first, last = _cut(x, axis, 0, 1), _cut(x, axis, side - 1, side)
    before = jnp.concatenate([first, _cut(x, axis, 0, side - 1)], axis)
    after = jnp.concatenate([_cut(x, axis, 1, side), last], axis)
    phases = []
    for k in range(factor):
        offset = (k + 0.5) / factor - 0.5
        neighbour = after if offset >= 0 else before
        phases.append((1 - abs(offset)) * x + abs(offset) * neighbour)
    y = jnp.stack(phases, axis + 1)
    return y.reshape(*x.shape[:axis], side * factor, *x.shape[axis + 1 :])


def _downsample(x: Array, factor: int, axis: int) -> Array:
    """Triangle filter over `2 * factor` inputs, which begin half a factor before the output's."""
    side, half = x.shape[axis] // factor, factor // 2
    taps = [(k + 0.5) / factor**2 for k in range(factor)]
    cells = x.reshape(*x.shape[:axis], side, factor, *x.shape[axis + 1 :])
    cell = [jnp.take(cells, k, axis + 1) for k in range(factor)]
    # The window of an output: the later half of the cell before, its cell, half of the one after.
    own = sum((taps[half + min(k, factor - 1 - k)]) * cell[k] for k in range(factor))
    before = sum(taps[k] * cell[half + k] for k in range(half))
    after = sum(taps[half - 1 - k] * cell[k] for k in range(half))
    y = own + _shift(before, axis, 1) + _shift(after, axis, -1)
    inside = 1 - sum(taps[:half])  # what is left of the weights at a border
    weight = jnp.ones(side).at[0].add(inside - 1).at[-1].add(inside - 1)
    return y / weight.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))


def _shift(x: Array, axis: int, by: int) -> Array:
    side = x.shape[axis]
    part = _cut(x, axis, max(-by, 0), side - max(by, 0))
    widths = [(0, 0)] * x.ndim
    widths[axis] = (max(by, 0), max(-by, 0))
    return jnp.pad(part, widths)


def _cut(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[(slice(None),) * axis + (slice(start, stop),)]
