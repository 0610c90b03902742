"""Pooling by shifted sums against XLA's windows, and what pooling means at borders."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.average_pool import average_pool


@pytest.mark.parametrize("size", [3, 5, 7, 9])
@pytest.mark.parametrize("shape", [(8, 6), (1, 4)])
def test_values_and_gradients(size, shape):
    x = jnp.asarray(np.random.default_rng(size).standard_normal((2, *shape, 3)), jnp.float32)

    @partial(jax.jit, static_argnums=0)
    def derivatives(implementation, x):
        pool = partial(average_pool, size=size, implementation=implementation)
        y, vjp = jax.vjp(pool, x)
        moved = jax.jvp(pool, (x,), (jnp.cos(x),))[1]
        gradients = vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))
        return {"output": y, "tangent": moved, "gradients": gradients}

    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6),
        derivatives("shifted", x),
        derivatives("reference", x),
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

    forward, backward = jax.jacfwd(jax.grad(loss))(x), jax.jacrev(jax.grad(loss))(x)
    np.testing.assert_allclose(forward, backward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(loss)(x), jax.grad(loss)(x), rtol=1e-5, atol=1e-6)


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
