"""Small layers: norms, stochastic depth, dense, squeeze-excite, MBConv shapes."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from common.layers.mbconv import MBConv
from common.layers.mlp import MLP, Dense, gelu
from common.layers.norm import batch_norm, layer_norm
from common.layers.squeeze_excite import SqueezeExcite
from common.layers.stochastic_depth import StochasticDepth


class Norms(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return layer_norm(name="layer")(x), batch_norm(train=train, momentum=0.99, name="batch")(x)


def test_norm_constants():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3, 3, 8)) * 1e-2, jnp.float32)
    variables = Norms().init(jax.random.key(0), x, True)
    (layer, batch), new = Norms().apply(variables, x, True, mutable=["batch_stats"])
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer, expected, rtol=1e-4, atol=1e-6)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(batch, expected, rtol=1e-4, atol=1e-6)
    moved = 0.99 + 0.01 * x.var((0, 1, 2))  # the biased variance
    np.testing.assert_allclose(new["batch_stats"]["batch"]["var"], moved, rtol=1e-6)


def test_stochastic_depth_keeps_the_mean_and_drops_whole_examples():
    x = jnp.ones((4000, 2, 3))
    layer = StochasticDepth(0.25)
    y = layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(y).round(4)) == {0.0, np.float32(1 / 0.75).round(4)}
    assert np.all(np.ptp(y, axis=(1, 2)) == 0)
    assert y.mean() == pytest.approx(1.0, abs=0.03)
    assert layer.apply({}, x, train=False) is x
    assert StochasticDepth(0.0).apply({}, x, train=True) is x  # needs no rng


def test_dense_on_a_map_is_a_1x1_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    variables = Dense(7).init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]
    expected = jax.lax.conv_general_dilated(
        x, kernel[None, None], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(Dense(7).apply(variables, x), expected, rtol=1e-5, atol=1e-6)


def test_gelu_is_the_tanh_approximation():
    assert gelu(jnp.float32(1.0)) == pytest.approx(0.841192, abs=1e-6)


def test_mlp_expands_four_times():
    shapes = jax.eval_shape(lambda: MLP().init(jax.random.key(0), jnp.zeros((1, 2, 2, 8))))
    assert shapes["params"]["expand"]["kernel"].shape == (8, 32)
    assert shapes["params"]["shrink"]["kernel"].shape == (32, 8)


def test_squeeze_excite_equals_its_definition():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
    variables = SqueezeExcite(2).init(jax.random.key(1), x)
    p = variables["params"]
    hidden = x.mean((1, 2)) @ p["reduce"]["kernel"]
    gate = jax.nn.sigmoid((hidden * jax.nn.sigmoid(hidden)) @ p["expand"]["kernel"])
    np.testing.assert_allclose(
        SqueezeExcite(2).apply(variables, x), x * gate[:, None, None], rtol=1e-5, atol=1e-6
    )


def test_mbconv_widths_count_from_the_output():
    module = MBConv(16, stride=2)
    x = jnp.zeros((1, 7, 8, 4))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    params = variables["params"]
    assert params["expand_conv"]["kernel"].shape == (4, 64)
    assert params["se"]["reduce"]["kernel"].shape == (64, 4)
    assert params["shortcut_conv"]["kernel"].shape == (4, 16)
    y = jax.eval_shape(lambda v: module.apply(v, x, train=False), variables)
    assert y.shape == (1, 4, 4, 16)
    same = MBConv(4).init(jax.random.key(0), x, train=False)
    assert "shortcut_conv" not in same["params"]
