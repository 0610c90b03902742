"""The positive part: every formulation has relu's values and derivatives."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.positive_part import positive_part


@pytest.mark.parametrize("implementation", ["reference", "selection", "auto"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_derivatives(implementation, dtype):
    x = jnp.array([-jnp.inf, -2.5, -0.0, 0.0, 1e-30, 3.0, jnp.inf, jnp.nan], dtype)
    y, vjp = jax.vjp(partial(positive_part, implementation=implementation), x)
    assert y.dtype == dtype
    expected = [0, 0, 0, 0, float(x[4]), 3, np.inf, np.nan]
    np.testing.assert_array_equal(y.astype(jnp.float32), expected)
    np.testing.assert_array_equal(vjp(jnp.ones_like(y))[0][:-1], [0, 0, 0, 0, 1, 1, 1])


def test_no_maximum_is_left_for_the_cpu():
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)

    def text(platform):
        program = jax.jit(positive_part).trace(x).lower(lowering_platforms=(platform,))
        return program.as_text()

    assert "maximum" not in text("cpu")
    assert "maximum" in text("tpu")


def test_an_unknown_implementation_is_named():
    with pytest.raises(UserError, match="implementation='relu': choose from auto, reference, sel"):
        positive_part(jnp.ones(3), implementation="relu")
