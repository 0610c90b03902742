"""Rematerialisation: the same numbers, and really less memory."""

from functools import partial

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from common.layers.remat import remat


class Block(nn.Module):
    """Many activations between input and output, and dropout."""

    @nn.compact
    def __call__(self, x, extra, train):
        for _ in range(6):
            x = x + nn.Dense(32)(nn.gelu(nn.Dense(128)(x)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return x if extra is None else x + extra, x


class Net(nn.Module):
    remat: bool

    @nn.compact
    def __call__(self, x, train):
        block = remat(Block) if self.remat else Block
        extra = None
        for i in range(4):
            x, extra = block(name=f"block_{i}")(x, extra, train)
        return x


def compiled(remat):
    net, x = Net(remat), jnp.asarray(np.random.default_rng(0).normal(size=(512, 32)), jnp.float32)
    variables = Net(False).init(jax.random.key(0), x, False)

    def loss(variables):
        return (net.apply(variables, x, True, rngs={"dropout": jax.random.key(1)}) ** 2).mean()

    return jax.jit(jax.value_and_grad(loss)).lower(variables).compile(), variables


def test_equal_and_smaller():
    (plain, variables), (less, _) = compiled(False), compiled(True)
    for a, b in zip(*(jax.tree.leaves(f(variables)) for f in (plain, less)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())
    sizes = [f.memory_analysis().temp_size_in_bytes for f in (plain, less)]
    assert sizes[1] < 0.6 * sizes[0], sizes


def test_derivatives_of_any_order_and_mode():
    """The dropout draws the same in every one of them."""
    x = jax.random.normal(jax.random.key(0), (3, 2))
    variables = Small(False).init(jax.random.key(0), x, False)

    @partial(jax.jit, static_argnums=0)
    def derivatives(remat):
        def loss(variables, x):
            rngs = {"dropout": jax.random.key(1)}
            y, state = Small(remat).apply(variables, x, True, rngs=rngs, mutable="batch_stats")
            return jnp.sin(y).sum() + state["batch_stats"]["Inner_0"]["seen"].sum()

        place = variables, x
        moves = jax.tree.map(jnp.cos, place)
        _, moved = jax.jvp(loss, place, moves)
        _, moved_gradient = jax.jvp(jax.grad(loss), place, moves)
        return moved, moved_gradient, jax.hessian(loss, 1)(*place), jax.jacrev(loss, 1)(*place)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        derivatives(True),
        derivatives(False),
    )


class Inner(nn.Module):
    """What a block may have besides: statistics, dropout, an integer that comes in."""

    @nn.compact
    def __call__(self, x, count, train):
        seen = self.variable("batch_stats", "seen", jnp.zeros, x.shape[-1])
        seen.value = 0.5 * seen.value + jnp.square(x).mean(0)
        x = nn.Dense(x.shape[-1])(jnp.tanh(x)) * count
        return nn.Dropout(0.5, deterministic=not train)(x)


class Small(nn.Module):
    remat: bool

    @nn.compact
    def __call__(self, x, train):
        block = remat(Inner) if self.remat else Inner
        return block(name="Inner_0")(x, jnp.arange(2), train)
