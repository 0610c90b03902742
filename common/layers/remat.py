"""Rematerialisation: activations are computed again in the backward pass instead of stored."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.core import lift
from flax.linen.transforms import decorator_lift_transform
from jax import Array
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import jaxpr_as_fun

from common.kernels.linear import linear_call


def remat(block: type[nn.Module]) -> type[nn.Module]:
    """Returns a module like `block` that stores its inputs only.

    What `nn.remat` does, but here the second computation depends on the incoming gradient. XLA's
    CPU backend drops the barrier that should delay it, and would run it right after the first, with
    all activations in memory after all.

    Args:
      block: called with arrays (or trees of them, or None), last with a bool, `train`.
    """

    class Rematerialised(block):
        @nn.compact
        def __call__(self, *inputs: Any) -> Any:
            *arrays, train = inputs

            def run(module: nn.Module, *arrays: Any) -> Any:
                return block.__call__(module, *arrays, train)

            return decorator_lift_transform(_lifted, run)(self, *arrays)

    return Rematerialised


def recomputed(f: Callable[..., Any], *args: Any) -> Any:
    """Returns `f(*args)`, whose reverse-mode derivative stores nothing but the arguments.

    Args:
      f: of trees of arrays; closes over no traced value.
      *args: what it is called with.
    """
    # Traced once: what a module draws at random depends on how often it was called.
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
    run = jaxpr_as_fun(closed)
    smooth = [jnp.issubdtype(y.dtype, jnp.inexact) for y in closed.out_avals]

    @jax.custom_jvp
    def call(*values: Array) -> list[Array]:
        return run(*values)

    @functools.partial(call.defjvp, symbolic_zeros=True)
    def derivative(values: Any, moves: Any) -> tuple[list[Array], list[Any]]:
        moving = [i for i, move in enumerate(moves) if not isinstance(move, SymbolicZero)]

        def of_moving(values: list[Array]) -> tuple[Callable[..., list[Array]], list[Array]]:
            """The function of those arguments that move, and where it stands."""

            def part(*moved: Array) -> list[Array]:
                full = dict(enumerate(values)) | dict(zip(moving, moved, strict=True))
                return list(itertools.compress(run(*full.values()), smooth))

            return part, [values[i] for i in moving]

        def forward(values: list[Array], moves: list[Array]) -> list[Array]:
            part, place = of_moving(values)
            return jax.jvp(part, place, moves)[1]

        def backward(values: list[Array], gradients: list[Array]) -> list[Array]:
            part, place = of_moving(_after(gradients, values))
            return list(jax.vjp(part, *place)[1](gradients))

        found = iter(linear_call(forward, backward, list(values), [moves[i] for i in moving]))
        results = call(*values)
        # JAX's tangents of integers and of random keys are of a type of their own.
        nothing = [np.zeros(y.shape, jax.dtypes.float0) for y in results]
        return results, [next(found) if s else n for s, n in zip(smooth, nothing, strict=True)]

    return jax.tree.unflatten(jax.tree.structure(shapes), call(*jax.tree.leaves(args)))


def _lifted(block: Callable[..., Any]) -> Callable[..., Any]:
    """`recomputed` for a function of scopes, linen's way to variables and random numbers."""

    def inner(scope_fn, repack_fn, variables, rngs, *args):
        def run(variables, rngs, *args):
            scope = scope_fn(variables, rngs)
            return block(scope, *args), repack_fn(scope)

        return recomputed(run, variables, rngs, *args)

    return lift.pack(inner, (True,), (True,), (True,), name="remat")


def _after(gradients: list[Array], values: list[Any]) -> list[Any]:
    """The values, but not before the gradients: NaN where one begins with NaN, else unchanged."""
    broken = functools.reduce(jnp.logical_or, [jnp.isnan(g.ravel()[0]) for g in gradients])

    def wait(x: Array) -> Array:
        return jnp.where(broken, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return [wait(x) for x in values]
