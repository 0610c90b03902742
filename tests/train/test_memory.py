"""The estimate of activations: what is stored, what is computed again, and how near it comes."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from common.layers.remat import remat
from launch.memory import peak_bytes
from tests.train import tiny

N = 64
SQUARE = jax.ShapeDtypeStruct((N, N), np.float32)
BYTES = 4 * N * N


def peak(function, *shapes):
    return peak_bytes(jax.jit(function).trace(*shapes).jaxpr.jaxpr)


class Block(nn.Module):
    """Two products."""

    @nn.compact
    def __call__(self, x, train):
        del train
        return x + nn.Dense(N)(nn.relu(nn.Dense(4 * N)(x)))


class Stack(nn.Module):
    """Eight blocks."""

    block: type = Block

    @nn.compact
    def __call__(self, x):
        for _ in range(8):
            x = self.block()(x, True)
        return x.sum()


@pytest.mark.parametrize(
    ("function", "stored"),
    [
        (lambda x: x.sum(), 0),  # of arguments and results nothing counts
        (lambda x: (2 * jnp.sin(x) + 1).sum(), 0),  # elementwise
        (lambda x: (x @ x).sum(), 1),
        (lambda x: ((x @ x) @ x).sum(), 2),
        (lambda x: (((x @ x) @ x) @ x).sum(), 2),  # the first is gone
        (lambda x: (jnp.tanh(x) @ x).sum(), 2),  # a product's operand and the product
        (lambda x: (((y := x @ x) @ x) @ y).sum(), 3),
        (lambda x: jax.jit(lambda y: y @ y)(x).sum(), 1),  # a call is looked into
        (lambda x: jnp.dot(x.astype(jnp.bfloat16), x.astype(jnp.bfloat16)).sum(), 1.5),
    ],
)
def test_what_is_stored(function, stored):
    assert peak(function, SQUARE) == stored * BYTES


def test_the_gradient_stores_what_it_reads():
    def loss(x, w):
        return jnp.tanh(jnp.tanh(x @ w) @ w).sum()

    forward, backward = peak(loss, SQUARE, SQUARE), peak(jax.grad(loss), SQUARE, SQUARE)
    assert forward == 2 * BYTES  # a product and its operand at a time
    assert backward > forward


def test_rematerialisation_is_seen():
    def needed(block):
        model = Stack(block)
        params = jax.eval_shape(model.init, jax.random.key(0), SQUARE)
        return peak(jax.grad(lambda p, x: model.apply(p, x)), params, SQUARE)

    assert needed(remat(Block)) < needed(Block) / 1.5


def test_a_loop_needs_what_one_turn_needs():
    def loop(x):
        return jax.lax.scan(lambda c, _: ((c @ x) @ x, None), x, None, length=100)[0].sum()

    once = peak(lambda x: (x @ x) @ x, SQUARE)
    assert once <= peak(loop, SQUARE) <= once + 2 * BYTES


@pytest.mark.slow
def test_estimate_is_near_what_the_compiler_needs():
    task = tiny.make_task(tiny.config({"model.depths": [1], "data.image_size": 32}))
    variables = jax.eval_shape(task.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((32, 32, 32, 3), np.uint8)
    batch = {"image": image, "label": jax.ShapeDtypeStruct((32,), np.int32)}

    def gradient(variables, batch, rng):
        def loss(params):
            return task.loss({**variables, "params": params}, batch, rng)

        return jax.grad(loss, has_aux=True)(variables["params"])

    traced = jax.jit(gradient).trace(variables, batch, jax.random.key(0))
    estimate = peak_bytes(traced.jaxpr.jaxpr)
    compiled = traced.lower().compile().memory_analysis().temp_size_in_bytes
    assert 0.9 * estimate < compiled < 2.5 * estimate
