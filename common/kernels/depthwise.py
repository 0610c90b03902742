"""Depthwise convolution by shifted multiply-adds on CPU, by XLA's grouped convolution elsewhere.

XLA's CPU backend runs a grouped convolution as a naive loop. Adding up k * k shifted copies of the
input, each times one filter row, is some 30 times faster, the hand-written gradients below some 10
times (docs/experiments.md).
"""

from functools import partial
from typing import Any

import jax
from jax import Array, lax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero

from common.kernels.choose import choose
from common.kernels.linear import linear_call

FASTEST = {"cpu": "shifted", "default": "reference"}


def depthwise_conv(
    x: Array, kernel: Array, *, stride: int = 1, implementation: str = "auto"
) -> Array:
    """Depthwise convolution, SAME padded.

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[side, side, 1, channels]`; its side is at least the stride.
      stride: step of the output in both axes.
      implementation: `"auto"`, `"reference"` (XLA's grouped convolution) or `"shifted"`.

    Returns:
      `[batch, ceil(height / stride), ceil(width / stride), channels]`.

    Raises:
      UserError: there is no such implementation.
    """
    formulations = {
        "reference": lambda x, kernel: _reference(x, kernel, stride),
        "shifted": lambda x, kernel: _shifted(x, kernel, stride),
    }
    return choose(implementation, formulations, FASTEST, x, kernel)


def _reference(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _shifted(x: Array, kernel: Array, stride: int) -> Array:
    """A sum of shifted products, with gradients in the same form."""
    height, width = (-(-side // stride) for side in x.shape[1:3])
    padded = _pad_same(x, kernel.shape[0], stride)
    out = None
    for i, j in _taps(kernel.shape[0]):
        term = _window(padded, i, j, height, width, stride) * kernel[i, j, 0]
        out = term if out is None else out + term
    return out


@partial(_shifted.defjvp, symbolic_zeros=True)
def _derivative(stride: int, primals: Any, tangents: Any) -> tuple[Array, Any]:
    """Linear in either argument, and each has a gradient of its own."""
    x, kernel = primals
    moved_x, moved_kernel = tangents
    shape, side, dtype = x.shape, kernel.shape[0], kernel.dtype
    terms = []
    if not isinstance(moved_x, SymbolicZero):
        terms.append(
            linear_call(
                lambda kernel, moved: _shifted(moved, kernel, stride),
                lambda kernel, g: _input_gradient(shape, kernel, g, stride),
                kernel,
                moved_x,
            )
        )
    if not isinstance(moved_kernel, SymbolicZero):
        terms.append(
            linear_call(
                lambda x, moved: _shifted(x, moved, stride),
                lambda x, g: _kernel_gradient(x, side, g, stride).astype(dtype),
                x,
                moved_kernel,
            )
        )
    y = _shifted(x, kernel, stride)
    return y, sum(terms[1:], terms[0])


def _input_gradient(shape: tuple[int, ...], kernel: Array, g: Array, stride: int) -> Array:
    """Per residue of the input position modulo the stride, a small stride-1 correlation of `g`.

    Padded input row r is read by output row o through tap i where r = stride * o + i. So rows with
    the same r % stride use the same taps, and no zeros are inserted between the rows of `g`.
    """
    side = kernel.shape[0]
    height, width = shape[1:3]
    (top, _), (left, _) = _padding(height, side, stride), _padding(width, side, stride)
    rows, columns = -(-(height + top) // stride), -(-(width + left) // stride)
    reach = (side - 1) // stride
    beyond = rows - g.shape[1], columns - g.shape[2]
    g_padded = jnp.pad(g, [(0, 0), *((reach, more) for more in beyond), (0, 0)])
    phases = []
    for row_phase in range(stride):
        for column_phase in range(stride):
            total = jnp.zeros((shape[0], rows, columns, shape[3]), g.dtype)
            for i in range(row_phase, side, stride):
                for j in range(column_phase, side, stride):
                    y, z = reach - i // stride, reach - j // stride
                    shifted = lax.slice_in_dim(g_padded, y, y + rows, axis=1)
                    shifted = lax.slice_in_dim(shifted, z, z + columns, axis=2)
                    total = total + shifted * kernel[i, j, 0]
            phases.append(total)
    if stride == 1:
        full = phases[0]
    else:
        full = jnp.stack(phases, axis=3).reshape(shape[0], rows, columns, stride, stride, shape[3])
        full = full.transpose(0, 1, 3, 2, 4, 5)
        full = full.reshape(shape[0], rows * stride, columns * stride, shape[3])
    return full[:, top : top + height, left : left + width]


def _kernel_gradient(x: Array, side: int, g: Array, stride: int) -> Array:
    """Sums `g` times shifted `x`, image by image so that the operands stay in cache."""
    height, width = g.shape[1:3]

    def one_image(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        image, gradient = pair
        padded = _pad_same(image[None], side, stride)
        taps = [
            jnp.sum(
                _window(padded, i, j, height, width, stride)[0] * gradient,
                axis=(0, 1),
                dtype=jnp.float32,
            )
            for i, j in _taps(side)
        ]
        return total + jnp.stack(taps), None

    channels = x.shape[-1]
    total, _ = lax.scan(one_image, jnp.zeros((side * side, channels), jnp.float32), (x, g))
    return total.reshape(side, side, 1, channels)


def _taps(side: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(side) for j in range(side)]


def _padding(size: int, side: int, stride: int) -> tuple[int, int]:
    """Before and after; without a comparison: the size may be symbolic (jax.export)."""
    total = side - stride + -size % stride
    return total // 2, total - total // 2


def _pad_same(x: Array, side: int, stride: int) -> Array:
    pads = [_padding(size, side, stride) for size in x.shape[1:3]]
    return jnp.pad(x, [(0, 0), *pads, (0, 0)])


def _window(padded: Array, i: int, j: int, height: int, width: int, stride: int) -> Array:
    """What tap (i, j) sees: `[batch, height, width, channels]`."""
    batch, *_, channels = padded.shape
    stop = i + (height - 1) * stride + 1, j + (width - 1) * stride + 1
    return lax.slice(padded, (0, i, j, 0), (batch, *stop, channels), (1, stride, stride, 1))
