"""The blurred halving, against the convolution that it is."""

import jax
import numpy as np
from jax import lax

from common.layers.blur_pool import blur_pool


def test_is_a_strided_convolution():
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)
    taps = np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / np.float32(64)
    kernel = np.tile(taps[:, :, None, None], (1, 1, 1, 3))
    layout = ("NHWC", "HWIO", "NHWC")
    fields = {"dimension_numbers": layout, "feature_group_count": 3}
    expected = lax.conv_general_dilated(x, kernel, (2, 2), "SAME", **fields)
    np.testing.assert_allclose(jax.jit(blur_pool)(x), expected, atol=1e-6)
