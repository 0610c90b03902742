"""Pooling by shifted sums against XLA's windows, and what pooling means at borders."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.kernels import average_pool as kernel


@pytest.mark.parametrize("size", [3, 5, 7, 9])
@pytest.mark.parametrize("shape", [(8, 6), (1, 4)])
def test_values_and_gradients(size, shape):
    x = jnp.asarray(np.random.default_rng(size).standard_normal((2, *shape, 3)), jnp.float32)

    def value_and_gradient(pool):
        @jax.jit
        def run(x):
            y, vjp = jax.vjp(lambda x: pool(x, size), x)
            return y, *vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

        return run(x)

    expected = value_and_gradient(kernel.average_pool_reference)
    for a, e in zip(value_and_gradient(kernel.average_pool), expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_positions_beyond_the_border_do_not_count():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    want = [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]  # 4, 6 or 9 positions each
    np.testing.assert_allclose(kernel.average_pool(x, 3)[0, :, :, 0], want, rtol=1e-6)
    np.testing.assert_allclose(kernel.average_pool(x + 1, 5), jnp.full_like(x, 5), rtol=1e-6)


def test_both_formulations_of_the_sum_are_the_same():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    shifted, windows = kernel._sum_shifted(x, 3), kernel._sum_reference(x, 3)
    np.testing.assert_allclose(shifted, windows, rtol=1e-5, atol=1e-6)


def test_chooses_the_shifted_form_on_cpu():
    x = jnp.zeros((1, 4, 4, 2))
    compiled = jax.jit(lambda x: kernel.average_pool(x, 3)).lower(x).compile()
    assert "reduce-window" not in compiled.as_text()


def test_bfloat16_stays_bfloat16():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    y, vjp = jax.vjp(lambda x: kernel.average_pool(x, 3), x)
    assert y.dtype == vjp(y)[0].dtype == jnp.bfloat16
