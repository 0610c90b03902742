"""Activations against double precision."""

import numpy as np
import pytest
from jax import numpy as jnp
from scipy import special

from common.layers.mlp import exact_gelu


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.04)])
def test_exact_gelu(dtype, rtol):
    x = jnp.linspace(-3, 10, 5000).astype(dtype)
    wide = np.asarray(x, np.float64)
    found = np.asarray(exact_gelu(x), np.float64)
    np.testing.assert_allclose(found, wide * special.ndtr(wide), rtol=rtol, atol=1e-6)
