"""On TPUs maps and their gradients lie with images next to channels; elsewhere nothing happens."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from common.kernels.map_layout import images_by_channels
from common.train.sharding import MeshConfig, make_mesh


def gradient(x):
    return jax.grad(lambda x: jnp.sum(jnp.square(images_by_channels(x))))(x)


@pytest.mark.parametrize(
    ("shape", "devices", "places"),
    [
        ((8, 3, 2, 4), 1, 2),  # of the map and of its gradient
        ((16, 3, 2, 4), 2, 2),
        ((8, 3, 2, 4), 2, 0),  # four images per device
        ((4, 3, 2, 4), 1, 0),
        ((8, 3, 4), 1, 0),  # no map
    ],
)
def test_where_maps_are_placed(shape, devices, places):
    mesh = make_mesh(MeshConfig(), jax.devices()[:devices])
    program = jax.jit(gradient, in_shardings=NamedSharding(mesh, P("data")))
    traced = program.trace(jax.ShapeDtypeStruct(shape, jnp.float32))
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("LayoutConstraint") == places
    assert text.count("dense<[3, 0, 2, 1]>") == places  # minor first
    assert "LayoutConstraint" not in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_it_is_the_identity():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3, 2, 4)), jnp.float32)
    np.testing.assert_array_equal(images_by_channels(x), x)
    np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x[None]), 2 * x[None])
