"""Resizes against `jax.image`, and the convolutions that are computed before them."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from common.errors import UserError
from common.layers.conv import UpConv
from common.layers.resize import (
    MultiScaleDense,
    adaptive_average_pool,
    bilinear,
    interpolated,
    nearest,
    nearest_downsample,
    resize,
)
from tests.golden.weights import make_variables


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def reference(x, height, width, method="bilinear"):
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[-1]), method)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size", [(8, 16), (16, 8)])
def test_as_jax_image_in_both_directions(size, factor):
    height, width = size
    x = normal(2, height, width, 3)

    @jax.jit
    def run(x):
        up, down = resize(x, height * factor), resize(x, height // factor)
        small = down.shape[1:3]
        return (
            (up, reference(x, *up.shape[1:3])),
            (down, reference(x, *small)),
            (nearest_downsample(x, factor), reference(x, *small, "nearest")),
        )

    up, down, sampled = run(x)
    np.testing.assert_allclose(*up, atol=2e-6)
    np.testing.assert_allclose(*down, atol=2e-6)
    np.testing.assert_array_equal(*sampled)


def test_gradient_as_jax_image():
    x, weight = normal(1, 8, 8, 2), normal(1, 4, 4, 2, seed=1)
    ours = jax.jit(jax.grad(lambda x: (resize(x, 4) * weight).sum()))(x)
    theirs = jax.jit(jax.grad(lambda x: (reference(x, 4, 4) * weight).sum()))(x)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(("size", "height"), [((9, 9), 3), ((8, 8), 6), ((8, 6), 2)])
def test_factors_that_do_not_work(size, height):
    with pytest.raises(UserError, match="not resized"):
        resize(normal(1, *size, 1), height)


def test_multi_scale_dense_is_a_convolution_of_the_upsampled_concatenation():
    fine, coarse, coarsest = normal(2, 8, 12, 3), normal(2, 4, 6, 2), normal(2, 2, 3, 5)
    maps = [coarse, fine, coarsest, fine]  # one map may come twice
    module = MultiScaleDense(4)

    @jax.jit
    def both(variables, maps):
        stacked = jnp.concatenate([reference(x, 8, 12) for x in maps], -1)
        params = variables["params"]
        return module.apply(variables, maps), stacked @ params["kernel"] + params["bias"]

    np.testing.assert_allclose(*both(make_variables(module, maps), maps), atol=5e-6)


def test_up_conv_is_linens_transposed_convolution():
    x = normal(2, 3, 5, 4)
    ours, theirs = UpConv(6), nn.ConvTranspose(6, (2, 2), (2, 2))
    variables = make_variables(theirs, x)
    found, expected = (jax.jit(module.apply)(variables, x) for module in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("size", [(14, 21), (10, 9), (7, 7), (15, 30), (5, 5)])
def test_bilinear_to_any_size_is_jax_images_without_antialiasing(size):
    x = normal(2, 7, 7, 3)

    @jax.jit
    def both(x):
        return bilinear(x, *size), jax.image.resize(x, (2, *size, 3), "bilinear", antialias=False)

    np.testing.assert_allclose(*both(x), atol=2e-6)


def test_aligned_corners_stay_and_what_is_between_is_even():
    x = jnp.arange(5.0)[None, :, None, None] * jnp.ones((1, 5, 3, 1))
    y = bilinear(x, 9, 3, align_corners=True)
    np.testing.assert_allclose(y[0, :, 1, 0], np.arange(9) / 2, atol=1e-6)


def test_interpolation_at_traced_places():
    x = normal(7, 3)
    places = jnp.array([-2.0, 0.0, 1.25, 4.9, 5.0, 6.0])  # the border is position 5
    found = jax.jit(lambda p, last: interpolated(x, p, last, 0))(places, 5.0)
    columns = np.asarray(x)
    expected = [np.interp(np.clip(places, 0, 5), np.arange(7), columns[:, i]) for i in range(3)]
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-6)


def test_nearest_takes_the_position_that_torch_takes():
    x = normal(1, 5, 4, 2)
    np.testing.assert_array_equal(nearest(x, 10, 8), jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
    rows = [0, 0, 1, 2, 2, 3, 4]  # floor(i * 5 / 7)
    np.testing.assert_array_equal(nearest(x, 7, 4), x[:, jnp.array(rows)])


def test_adaptive_average_pool_is_a_mean_over_parts_that_may_overlap():
    x = normal(2, 5, 6, 3)
    found = jax.jit(adaptive_average_pool, static_argnums=1)(x, 3)
    bounds = {5: [(0, 2), (1, 4), (3, 5)], 6: [(0, 2), (2, 4), (4, 6)]}  # floor and ceil
    for i, (top, bottom) in enumerate(bounds[5]):
        for j, (left, right) in enumerate(bounds[6]):
            expected = np.asarray(x)[:, top:bottom, left:right].mean((1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, atol=1e-6)
