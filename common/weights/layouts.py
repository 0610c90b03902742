"""How frameworks lay out the same weights: pairs of exactly inverse array functions.

Ours: dense kernels `[in, out]`, convolutions `[height, width, in, out]`, depthwise ones
`[height, width, 1, channels]`, transposed ones as linen has them; attention keeps its axes apart:
`[in, 3, heads, head_dim]` for q, k, v and `[heads, head_dim, out]` for the projection. 1x1
convolutions are dense.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """One array of ours against one or several foreign ones.

    Attributes:
      to_theirs: our array -> foreign arrays.
      to_ours: foreign arrays, our shape -> our array.
      is_bias_table: a relative-bias table `[heads, side, ..]`, resized when only sides differ.
    """

    to_theirs: Callable[[np.ndarray], Sequence[np.ndarray]]
    to_ours: Callable[[Sequence[np.ndarray], Shape], np.ndarray]
    is_bias_table: bool = False


def _transposed(*axes: int) -> Layout:
    back = tuple(np.argsort(axes))
    return Layout(lambda a: [a.transpose(axes)], lambda arrays, _: arrays[0].transpose(back))


def _matrix(a: np.ndarray, inputs: int) -> np.ndarray:
    """`[*inputs, *outputs]` -> `[out, in]`."""
    return a.reshape(int(np.prod(a.shape[:inputs])), -1).T


SAME = Layout(lambda a: [a], lambda arrays, _: arrays[0])
BIAS_TABLE = dataclasses.replace(SAME, is_bias_table=True)
FLATTENED = Layout(lambda a: [a.reshape(-1)], lambda arrays, shape: arrays[0].reshape(shape))

# q, k, v stored apart as [in, heads, head_dim] (bias: [heads, head_dim]).
STACKED_HEADS = Layout(
    lambda a: [np.take(a, i, axis=-3) for i in range(a.shape[-3])],
    lambda arrays, _: np.stack(arrays, axis=-3),
)

TF_POINTWISE = Layout(lambda a: [a[None, None]], lambda arrays, _: arrays[0][0, 0])
TF_DEPTHWISE = _transposed(0, 1, 3, 2)

TORCH_CONV = _transposed(3, 2, 0, 1)  # also depthwise
# Transposed convolutions: PyTorch's kernel, also `[in, out, height, width]`, is flipped in space.
TORCH_UP_CONV = Layout(
    lambda a: [a[::-1, ::-1].transpose(2, 3, 0, 1)],
    lambda arrays, _: arrays[0].transpose(2, 3, 0, 1)[::-1, ::-1],
)
TORCH_DENSE = Layout(lambda a: [_matrix(a, 1)], lambda arrays, shape: arrays[0].T.reshape(shape))
TORCH_DENSE_FROM_HEADS = dataclasses.replace(TORCH_DENSE, to_theirs=lambda a: [_matrix(a, 2)])
TORCH_POINTWISE = Layout(
    lambda a: [_matrix(a, 1)[:, :, None, None]],
    lambda arrays, shape: arrays[0][:, :, 0, 0].T.reshape(shape),
)
