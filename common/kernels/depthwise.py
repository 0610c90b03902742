"""Depthwise convolution by shifted multiply-adds on CPU, by XLA's grouped convolution elsewhere.

XLA's CPU backend runs a grouped convolution as a naive loop. Adding up k * k shifted copies of the
input, each times one filter row, is some 30 times faster, the hand-written gradients below some 10
times (docs/benchmarks.md).
"""

from functools import partial

import jax
from jax import Array, lax
from jax import numpy as jnp


def depthwise_conv(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """Depthwise convolution, SAME padded, by the fastest formulation of the platform it runs on.

    Args:
      x: `[batch, height, width, channels]`.
      kernel: `[side, side, 1, channels]`.
      stride: step of the output in both axes.

    Returns:
      `[batch, ceil(height / stride), ceil(width / stride), channels]`.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: depthwise_conv_shifted(x, kernel, stride),
        default=lambda x, kernel: depthwise_conv_reference(x, kernel, stride),
    )


def depthwise_conv_reference(x: Array, kernel: Array, stride: int = 1) -> Array:
    """`depthwise_conv` as XLA's grouped convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv_shifted(x: Array, kernel: Array, stride: int = 1) -> Array:
    """`depthwise_conv` as a sum of shifted products, with gradients in the same form."""
    height, width = (-(-side // stride) for side in x.shape[1:3])
    padded = _pad_same(x, kernel.shape[0], stride)
    out = None
    for i, j in _taps(kernel):
        term = _window(padded, i, j, height, width, stride) * kernel[i, j, 0]
        out = term if out is None else out + term
    return out


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_conv_shifted(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return _input_gradient(x.shape, kernel, g, stride), _kernel_gradient(x, kernel, g, stride)


depthwise_conv_shifted.defvjp(_forward, _backward)


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
    g_padded = jnp.pad(
        g,
        (
            (0, 0),
            (reach, max(0, rows - g.shape[1])),
            (reach, max(0, columns - g.shape[2])),
            (0, 0),
        ),
    )
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


def _kernel_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Sums `g` times shifted `x`, image by image so that the operands stay in cache."""
    height, width = g.shape[1:3]

    def one_image(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        image, gradient = pair
        padded = _pad_same(image[None], kernel.shape[0], stride)
        taps = [
            jnp.sum(
                _window(padded, i, j, height, width, stride)[0] * gradient,
                axis=(0, 1),
                dtype=jnp.float32,
            )
            for i, j in _taps(kernel)
        ]
        return total + jnp.stack(taps), None

    total = jnp.zeros((kernel.shape[0] * kernel.shape[1], kernel.shape[3]), jnp.float32)
    total, _ = lax.scan(one_image, total, (x, g))
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _taps(kernel: Array) -> list[tuple[int, int]]:
    return [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]


def _padding(size: int, side: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + side - size, 0)
    return total // 2, total - total // 2


def _pad_same(x: Array, side: int, stride: int) -> Array:
    pads = [_padding(size, side, stride) for size in x.shape[1:3]]
    return jnp.pad(x, [(0, 0), *pads, (0, 0)])


def _window(padded: Array, i: int, j: int, height: int, width: int, stride: int) -> Array:
    """What tap (i, j) sees: `[batch, height, width, channels]`."""
    rows = slice(i, i + (height - 1) * stride + 1, stride)
    columns = slice(j, j + (width - 1) * stride + 1, stride)
    return padded[:, rows, columns]
