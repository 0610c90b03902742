"""Kernels that see images of 3 channels, for images of others."""

from collections.abc import Sequence

import numpy as np

from common.weights.layouts import Layout


def other_channels(
    arrays: Sequence[np.ndarray], shape: tuple[int, ...], layout: Layout
) -> np.ndarray | None:
    """Returns a stem's kernel `[height, width, 3, out]` if that is all that keeps it from fitting.

    Args:
      arrays: of the file.
      shape: of the model's kernel, `[height, width, channels, out]`.
      layout: of both.
    """
    height, width, channels, out = shape
    of_three = (height, width, 3, out)
    wanted = [a.shape for a in layout.to_theirs(np.empty(of_three, np.float32))]
    if channels == 3 or [a.shape for a in arrays] != wanted:
        return None
    return np.asarray(layout.to_ours(arrays, of_three), np.float32)


def adapt(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Turns a kernel for 3 channels into one for another number, as timm's `adapt_input_conv`.

    For one channel the sum: gray images give what they gave as RGB. For more, the three in turn,
    scaled so that outputs stay as large.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.tile(kernel, (1, 1, -(-channels // 3), 1))[:, :, :channels]
    return np.asarray(repeated * np.float32(3 / channels), order="C")
