"""The shifted depthwise convolution against XLA's grouped convolution."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.kernels import depthwise

SIZES = [(8, 8), (7, 9), (10, 5), (1, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients(size, side, stride):
    rng = np.random.default_rng(side * stride)
    x = jnp.asarray(rng.standard_normal((2, *size, 3)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((side, side, 1, 3)), jnp.float32)

    def value_and_gradients(f):
        @jax.jit
        def run(x, kernel):
            y, vjp = jax.vjp(lambda x, kernel: f(x, kernel, stride), x, kernel)
            return y, *vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

        return run(x, kernel)

    expected = value_and_gradients(depthwise.depthwise_conv_reference)
    actual = value_and_gradients(depthwise.depthwise_conv_shifted)
    for name, a, e in zip(("output", "d input", "d kernel"), actual, expected, strict=True):
        assert a.shape == e.shape, name
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5, err_msg=name)


def test_chooses_the_shifted_form_on_cpu():
    x, kernel = jnp.zeros((1, 4, 4, 2)), jnp.zeros((3, 3, 1, 2))
    compiled = jax.jit(lambda x, k: depthwise.depthwise_conv(x, k, stride=1)).lower(x, kernel)
    assert "convolution" not in compiled.compile().as_text()


def test_bfloat16_stays_bfloat16():
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 1, 2), jnp.bfloat16)
    y, vjp = jax.vjp(lambda x, k: depthwise.depthwise_conv(x, k, stride=1), x, kernel)
    assert y.dtype == jnp.bfloat16
    assert [g.dtype for g in vjp(y)] == [jnp.bfloat16, jnp.bfloat16]
