"""Linear functions with their own transpose, under every transformation."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.kernels.linear import linear_call


def product(residuals, x):
    return {"y": jnp.sin(residuals["w"]) * x}


def call(w, x):
    return linear_call(product, lambda r, g: jnp.sin(r["w"]) * g["y"], {"w": w}, x)["y"]


def plain(w, x):
    return product({"w": w}, x)["y"]


W, X = jnp.arange(3.0) + 1, jnp.arange(3.0) + 2
TRANSFORMATIONS = {
    "forward": lambda f: jax.jacfwd(f, (0, 1))(W, X),
    "reverse": lambda f: jax.jacrev(f, (0, 1))(W, X),
    "linearize": lambda f: jax.linearize(f, W, X)[1](X, W),
    "forward over reverse": lambda f: jax.jacfwd(jax.jacrev(f, (0, 1)), (0, 1))(W, X),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f, (0, 1)), (0, 1))(W, X),
    "mapped, x shared": lambda f: jax.vmap(f, (0, None))(jnp.ones((2, 3)), X),
    "mapped, w shared": lambda f: jax.vmap(f, (None, 1), 1)(W, jnp.ones((3, 2))),
    "gradient of mapped": lambda f: jax.grad(
        lambda w, x: (jax.vmap(f, (None, 1), 1)(w, x) ** 2).sum(), (0, 1)
    )(W, jnp.ones((3, 2))),
    "remat": lambda f: jax.grad(lambda *a: (jax.checkpoint(f)(*a) ** 2).sum(), (0, 1))(W, X),
    "scan": lambda f: jax.grad(
        lambda w, x: jax.lax.scan(lambda c, x: (c + f(w, x).sum(), c), 0.0, jnp.stack([x, x]))[0],
        (0, 1),
    )(W, X),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_equals_the_same_without_a_transpose(name):
    for prepare in (lambda f: f, jax.jit):
        got, want = (TRANSFORMATIONS[name](prepare(f)) for f in (call, plain))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)


def test_reverse_mode_runs_the_transpose():
    def wrong(x):
        return linear_call(lambda _, x: 2 * x, lambda _, g: 5 * g, None, x)

    assert jax.grad(wrong)(1.0) == 5
    np.testing.assert_allclose(jax.grad(lambda x: jax.vmap(wrong)(x).sum())(X), 5.0)
    assert jax.jvp(wrong, (1.0,), (1.0,)) == (2.0, 2.0)
