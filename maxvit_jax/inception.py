"""The Inception network of the Fréchet inception distance (Heusel et al., NeurIPS 2017,
https://arxiv.org/abs/1706.08500): TensorFlow's of 2015-12-05, as PyTorch ports of its weights name
it (`pt_inception-2015-12-05`, 1008 classes).

It differs from the published Inception v3 (Szegedy et al., CVPR 2016,
https://arxiv.org/abs/1512.00567) in its last block, which pools maxima. Batch normalisation is part
of the convolutions here.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from common.config import require
from common.kernels.average_pool import average_pool
from common.layers.resize import bilinear
from common.weights.readers import WeightFile, require_finite

SIDE = 299
CLASSES = 1008
_FEATURES = 2048
_BN_EPSILON = 1e-3


class Conv(NamedTuple):
    """A convolution, batch normalisation and ReLU; with stride 2 nothing is padded."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    pad: bool = True


Step = Conv | tuple[Conv, Conv] | Callable[[Array], Array]  # two: side by side, of one input
Branches = Sequence[Sequence[Step]]


def _max_pool(stride: int, padding: int) -> Callable[[Array], Array]:
    def pool(x: Array) -> Array:
        pads = ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), pads)

    return pool


def _average(x: Array) -> Array:
    return average_pool(x, 3)


_HALVE = _max_pool(2, 0)
_STEM: Sequence[Step] = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), 2, pad=False),
    Conv("Conv2d_2a_3x3", 32, (3, 3), pad=False),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    _HALVE,
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), pad=False),
    _HALVE,
)


def _block_a(pooled: int) -> Branches:
    double = Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3))
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (*double, Conv("branch3x3dbl_3", 96, (3, 3))),
        (_average, Conv("branch_pool", pooled)),
    )


_BLOCK_B: Branches = (
    (Conv("branch3x3", 384, (3, 3), 2, pad=False),),
    (
        Conv("branch3x3dbl_1", 64),
        Conv("branch3x3dbl_2", 96, (3, 3)),
        Conv("branch3x3dbl_3", 96, (3, 3), 2, pad=False),
    ),
    (_HALVE,),
)


def _block_c(width: int) -> Branches:
    row, column = (1, 7), (7, 1)
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", width),
            Conv("branch7x7_2", width, row),
            Conv("branch7x7_3", 192, column),
        ),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, column),
            Conv("branch7x7dbl_3", width, row),
            Conv("branch7x7dbl_4", width, column),
            Conv("branch7x7dbl_5", 192, row),
        ),
        (_average, Conv("branch_pool", 192)),
    )


_BLOCK_D: Branches = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, pad=False)),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2, pad=False),
    ),
    (_HALVE,),
)


def _block_e(pool: Callable[[Array], Array]) -> Branches:
    def fork(name: str) -> tuple[Conv, Conv]:
        return Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))

    return (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), fork("branch3x3_2")),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            fork("branch3x3dbl_3"),
        ),
        (pool, Conv("branch_pool", 192)),
    )


BLOCKS: Mapping[str, Branches] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _block_e(_average),
    "Mixed_7c": _block_e(_max_pool(1, 1)),
}

Weights = dict[str, tuple[Array, Array]]  # kernel and bias by name


def inception_weights(file: WeightFile) -> Weights:
    """Returns the network's weights, every array of the file used once.

    Args:
      file: under PyTorch's names.

    Raises:
      UserError: an array is missing, of another shape, not finite, or not of this network.
    """
    require_finite(file.arrays, file.path)
    rest, weights = dict(file.arrays), {}

    def take(name: str, *shape: int) -> np.ndarray:
        array = rest.pop(name, None)
        found = "is missing" if array is None else f"is {list(array.shape)}, not {list(shape)}"
        fits = array is not None and array.shape == shape
        require(fits, f"{file.path} is not FID's Inception network: {name} {found}")
        return np.asarray(array, np.float32)

    for name, inputs, conv in _convolutions():
        kernel = take(f"{name}.conv.weight", conv.features, inputs, *conv.kernel)
        scale, bias, mean, variance = (
            take(f"{name}.bn.{part}", conv.features)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + np.float32(_BN_EPSILON))
        weights[name] = kernel.transpose(2, 3, 1, 0) * scale, bias - mean * scale
    weights["fc"] = take("fc.weight", CLASSES, _FEATURES).T, take("fc.bias", CLASSES)
    more = f"{len(rest)} arrays more ({next(iter(rest), '')})"
    require(not rest, f"{file.path} is not FID's Inception network: it has {more}")
    return jax.tree.map(jnp.asarray, weights)


def inception(weights: Weights, images: Array) -> tuple[Array, Array]:
    """Returns what FID and inception score see of images.

    Args:
      weights: of `inception_weights`.
      images: `[batch, height, width, 3]`, values 0..255; resized to 299 pixels, bilinear without
        antialiasing, as by the ports.

    Returns:
      Features `[batch, 2048]`, means over the last map, and logits `[batch, 1008]`, float32.
    """
    x = bilinear(images.astype(jnp.float32), SIDE, SIDE) / 127.5 - 1
    x = _follow(weights, "", _STEM, x)
    for name, branches in BLOCKS.items():
        parts = [_follow(weights, f"{name}.", steps, x) for steps in branches]
        x = jnp.concatenate(parts, axis=-1)
    features = x.mean((1, 2))
    kernel, bias = weights["fc"]
    return features, features @ kernel + bias


def _follow(weights: Weights, prefix: str, steps: Sequence[Step], x: Array) -> Array:
    for step in steps:
        if isinstance(step, Conv):
            x = _convolve(weights[prefix + step.name], step, x)
        elif isinstance(step, tuple):
            parts = [_convolve(weights[prefix + conv.name], conv, x) for conv in step]
            x = jnp.concatenate(parts, axis=-1)
        else:
            x = step(x)
    return x


def _convolve(weights: tuple[Array, Array], conv: Conv, x: Array) -> Array:
    kernel, bias = weights
    padding = "SAME" if conv.pad else "VALID"
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (conv.stride, conv.stride)
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)
    return jax.nn.relu(y + bias)


def _convolutions() -> Iterator[tuple[str, int, Conv]]:
    """Every convolution with its full name and input channels."""
    channels = yield from _of_steps("", _STEM, 3)
    for name, branches in BLOCKS.items():
        outputs = 0
        for steps in branches:
            outputs += yield from _of_steps(f"{name}.", steps, channels)
        channels = outputs


def _of_steps(
    prefix: str, steps: Sequence[Step], channels: int
) -> Generator[tuple[str, int, Conv], None, int]:
    """The same of steps in a row; returns the channels that they end with."""
    for step in steps:
        convs = (step,) if isinstance(step, Conv) else step if isinstance(step, tuple) else ()
        for conv in convs:
            yield prefix + conv.name, channels, conv
        channels = sum(conv.features for conv in convs) or channels
    return channels
