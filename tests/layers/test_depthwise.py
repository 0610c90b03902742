"""The shifted depthwise convolution against XLA's grouped convolution."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.depthwise import depthwise_conv

SIZES = [(8, 8), (7, 9), (10, 5), (1, 3)]


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients(side, stride):
    """One program of every size."""
    rng = np.random.default_rng(side * stride)
    images = [rng.standard_normal((2, *size, 3)).astype(np.float32) for size in SIZES]
    kernel = rng.standard_normal((side, side, 1, 3)).astype(np.float32)

    def derivatives(x, kernel, implementation):
        conv = partial(depthwise_conv, stride=stride, implementation=implementation)
        y, vjp = jax.vjp(conv, x, kernel)
        return y, vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    @jax.jit
    def run(images, kernel):
        kinds = ("shifted", "reference")
        return [[derivatives(x, kernel, kind) for kind in kinds] for x in images]

    for shifted, reference in run(images, kernel):
        jax.tree.map(close, shifted, reference)


def close(a, b):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_derivatives_of_any_order_and_mode():
    x = jax.random.normal(jax.random.key(0), (1, 4, 3, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 2))

    @partial(jax.jit, static_argnums=0)
    def derivatives(implementation):
        def loss(x, kernel):
            y = depthwise_conv(x, kernel, stride=2, implementation=implementation)
            return jnp.sin(y).sum()

        by_both = partial(jax.grad, argnums=(0, 1))
        products = jax.jvp(by_both(loss), (x, kernel), (jnp.cos(x), jnp.cos(kernel)))[1]
        twice = by_both(lambda *args: sum(map(jnp.sum, by_both(loss)(*args))))(x, kernel)
        one_each = jax.vmap(jax.grad(loss, 1), (0, None))(jnp.stack([x, x + 1]), kernel)
        return products, twice, jax.jacfwd(loss, (0, 1))(x, kernel), one_each

    jax.tree.map(close, derivatives("shifted"), derivatives("reference"))


def test_an_unknown_implementation_is_named():
    with pytest.raises(UserError, match="implementation='shiftd': did you mean 'shifted'"):
        depthwise_conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)), implementation="shiftd")


def test_chooses_the_shifted_form_on_cpu():
    x, kernel = jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 1, 2))
    compiled = jax.jit(lambda x, k: depthwise_conv(x, k, stride=1)).lower(x, kernel)
    assert "convolution" not in compiled.compile().as_text()


def test_bfloat16_stays_bfloat16():
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 1, 2), jnp.bfloat16)
    y, vjp = jax.vjp(lambda x, k: depthwise_conv(x, k, stride=1), x, kernel)
    assert y.dtype == jnp.bfloat16
    assert [g.dtype for g in vjp(y)] == [jnp.bfloat16, jnp.bfloat16]
