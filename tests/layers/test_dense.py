"""Every formulation of a dense layer on a map gives the same, and TPUs get theirs."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.dense import dense_layer


def test_every_implementation_is_the_same():
    rng = np.random.default_rng(0)
    arrays = (
        jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 3, 5, 4), (4, 6), (6,))
    )
    x, kernel, bias = arrays

    @partial(jax.jit, static_argnums=0)
    def derivatives(implementation):
        layer = partial(dense_layer, implementation=implementation)
        y, vjp = jax.vjp(layer, x, kernel, bias)
        return y, vjp(jnp.cos(y))

    expected = jnp.einsum("bhwc,cf->bhwf", x, kernel) + bias
    np.testing.assert_allclose(derivatives("reference")[0], expected, rtol=1e-5, atol=1e-5)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    for implementation in ("map", "auto"):
        jax.tree.map(close, derivatives(implementation), derivatives("reference"))
    with pytest.raises(UserError, match="implementation='rows': choose from auto, map, reference"):
        dense_layer(x, kernel, implementation="rows")


def test_only_tpus_leave_maps_as_they_are():
    x, kernel = jnp.zeros((2, 3, 5, 4)), jnp.zeros((4, 6))
    program = jax.jit(dense_layer).trace(x, kernel)
    rows = "tensor<30x4xf32>"
    assert rows not in program.lower(lowering_platforms=("tpu",)).as_text()
    assert rows in program.lower(lowering_platforms=("cpu",)).as_text()
