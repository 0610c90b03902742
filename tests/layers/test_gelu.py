"""GELU against double precision."""

import numpy as np
import pytest
from jax import numpy as jnp
from scipy import special

from common.kernels.gelu import exact_gelu


@pytest.mark.parametrize("implementation", ["reference", "erfc", "auto"])
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.04)])
def test_every_formulation(implementation, dtype, rtol):
    x = jnp.linspace(-3, 10, 5000).astype(dtype)
    wide = np.asarray(x, np.float64)
    found = exact_gelu(x, implementation=implementation)
    assert found.dtype == dtype
    found = np.asarray(found, np.float64)
    np.testing.assert_allclose(found, wide * special.ndtr(wide), rtol=rtol, atol=1e-6)
