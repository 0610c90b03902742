"""Initial values are those that one program gives, bit for bit, from few programs."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from common.layers.remat import remat
from common.train.fresh import fresh_variables

KEY = jax.random.key(3)
MESH = Mesh(np.array(jax.devices()[:2]), "fsdp")


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (40, 40))
        bias = self.param("bias", nn.initializers.normal(0.02), (40,))
        return x @ kernel + bias + self.param("scale", nn.initializers.ones, (40,))


class Network(nn.Module):
    layer: type[nn.Module]

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = self.layer()(x, True)
        mixing = self.variable(
            "constants", "mixing", lambda: nn.softmax(jax.random.normal(self.make_rng(), (3, 5)))
        )
        turned = self.param("turned", nn.initializers.orthogonal(), (4, 4))
        half = self.param("half", nn.initializers.uniform(), (6,), jnp.bfloat16)
        drawn = self.param("gamma", lambda key, shape: jax.random.gamma(key, 0.5, shape), (7,))
        keys = self.param("keys", lambda key: _normals(jax.random.split(key, 3)))
        fixed = self.variable("batch_stats", "fixed", lambda: jnp.arange(4.0))
        return x, mixing, turned, half, drawn, keys, fixed


def _normals(keys):
    return jax.vmap(lambda key: jax.random.normal(key, (5,)))(keys)


@pytest.mark.parametrize("layer", [Layer, remat(Layer)])
def test_values_are_those_of_one_program(layer):
    def init(rng):
        return Network(layer).init(rng, jnp.ones((2, 40)))

    places = NamedSharding(MESH, PartitionSpec()), NamedSharding(MESH, PartitionSpec("fsdp"))
    shardings = jax.tree.map(lambda x: places[x.shape == (40, 40)], jax.eval_shape(init, KEY))
    one = jax.jit(init, out_shardings=shardings)(KEY)
    found = fresh_variables(init, KEY, shardings)
    jax.tree.map(np.testing.assert_array_equal, found, one)
    assert jax.tree.map(lambda x: x.sharding, found) == shardings


def test_layers_that_are_alike_share_a_program(monkeypatch):
    def programs(depth):
        made = []

        def jit(function, **settings):
            made.append(function)
            return compiled(function, **settings)

        def init(rng):
            return nn.Sequential([Layer() for _ in range(depth)]).init(rng, jnp.ones((2, 40)))

        everywhere = NamedSharding(MESH, PartitionSpec())
        shardings = jax.tree.map(lambda _: everywhere, jax.eval_shape(init, KEY))
        with monkeypatch.context() as patch:
            patch.setattr("common.train.fresh.jax.jit", jit)
            fresh_variables(init, KEY, shardings)
        return len(made)

    compiled = jax.jit
    assert programs(2) == programs(4)
