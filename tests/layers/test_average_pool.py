"""Pooling by shifted sums against XLA's windows, and what pooling means at borders."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.average_pool import average_pool


@pytest.mark.parametrize("size", [3, 5, 7, 9])
def test_values_and_gradients(size):
    rng = np.random.default_rng(size)
    images = [rng.standard_normal((2, *shape, 3)).astype(np.float32) for shape in ((8, 6), (1, 4))]

    def derivatives(x, implementation):
        pool = partial(average_pool, size=size, implementation=implementation)
        y, vjp = jax.vjp(pool, x)
        moved = jax.jvp(pool, (x,), (jnp.cos(x),))[1]
        gradients = vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))
        return {"output": y, "tangent": moved, "gradients": gradients}

    @jax.jit
    def run(images):
        return [[derivatives(x, kind) for kind in ("shifted", "reference")] for x in images]

    for shifted, reference in run(images):
        jax.tree.map(
            lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6), shifted, reference
        )


def test_positions_beyond_the_border_do_not_count():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    want = [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]  # 4, 6 or 9 positions each
    np.testing.assert_allclose(average_pool(x, 3)[0, :, :, 0], want, rtol=1e-6)
    np.testing.assert_allclose(average_pool(x + 1, 5), jnp.full_like(x, 5), rtol=1e-6)


def test_derivatives_of_any_order_and_mode():
    x = jax.random.normal(jax.random.key(0), (2, 4, 3, 1))

    def loss(x):
        return jnp.sin(average_pool(x, 3)).sum()

    @jax.jit
    def run(x):
        second = jax.jacfwd(jax.grad(loss))(x), jax.jacrev(jax.grad(loss))(x)
        return second, (jax.jacfwd(loss)(x), jax.grad(loss)(x))

    for forward, backward in run(x):
        np.testing.assert_allclose(forward, backward, rtol=1e-5, atol=1e-6)


def test_an_unknown_implementation_is_named():
    with pytest.raises(UserError, match="implementation='gpu': choose from auto, reference, shif"):
        average_pool(jnp.ones((1, 4, 4, 2)), 3, implementation="gpu")


def test_chooses_the_shifted_form_on_cpu():
    x = jnp.zeros((1, 4, 4, 2))
    compiled = jax.jit(lambda x: average_pool(x, 3)).lower(x).compile()
    assert "reduce-window" not in compiled.as_text()


def test_bfloat16_stays_bfloat16():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    y, vjp = jax.vjp(lambda x: average_pool(x, 3), x)
    assert y.dtype == vjp(y)[0].dtype == jnp.bfloat16
