"""Linear functions whose transpose is written by hand, under every transformation of JAX.

`jax.custom_vjp` rules out derivatives in forward mode, and `jax.custom_derivatives.linear_call`
can be neither mapped over nor differentiated by what the function depends on.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax import numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir


def linear_call(
    fun: Callable[[Any, Any], Any], transpose: Callable[[Any, Any], Any], residuals: Any, x: Any
) -> Any:
    """Returns `fun(residuals, x)`; reverse-mode derivatives by x run `transpose`.

    Derivatives by the residuals are those of JAX.

    Args:
      fun: of two trees of arrays, linear in the second. Closes over no traced value.
      transpose: of the residuals and a tree like fun's result; returns a tree like x.
      residuals: tree of arrays that the transpose finds again.
      x: tree of floating-point arrays.
    """
    flat_residuals, residuals_tree = jax.tree.flatten(residuals)
    flat_x, x_tree = jax.tree.flatten(x)
    closed, result = jax.make_jaxpr(fun, return_shape=True)(residuals, x)
    result_tree = jax.tree.structure(result)

    def flat_transpose(*args: Array) -> list[Array]:
        first = jax.tree.unflatten(residuals_tree, args[: len(flat_residuals)])
        gradient = jax.tree.unflatten(result_tree, args[len(flat_residuals) :])
        found, tree = jax.tree.flatten(transpose(first, gradient))
        if tree != x_tree:
            raise TypeError(f"transpose returns {tree}, x is {x_tree}")
        return found

    counts = {"count": len(flat_residuals)}
    flat = _call.bind(*flat_residuals, *flat_x, fun=closed, transpose=flat_transpose, **counts)
    return jax.tree.unflatten(result_tree, flat)


# Parameters: `fun`, a closed jaxpr of residuals and x, flat; `transpose`, a function of residuals
# and gradients, flat; `count` of the residuals.
_call = Primitive("linear_with_transpose")
_call.multiple_results = True


@_call.def_impl
def _run(*args: Array, fun: ClosedJaxpr, **_: Any) -> list[Array]:
    return jaxpr_as_fun(fun)(*args)


@_call.def_abstract_eval
def _shapes(*_: Any, fun: ClosedJaxpr, **__: Any) -> list[Any]:
    return fun.out_avals


mlir.register_lowering(_call, mlir.lower_fun(_run, multiple_results=True))


def _differentiate(primals: Any, tangents: Any, *, fun: ClosedJaxpr, count: int, **rest: Any):
    residuals, by_x = primals[:count], tangents[count:]
    results = _call.bind(*primals, fun=fun, count=count, **rest)
    total = [ad.Zero(aval.to_tangent_aval()) for aval in fun.out_avals]
    if not all(type(t) is ad.Zero for t in by_x):
        by_x = map(ad.instantiate_zeros, by_x)
        total = _call.bind(*residuals, *by_x, fun=fun, count=count, **rest)
    moving = [i for i in range(count) if type(tangents[i]) is not ad.Zero]
    if moving:

        def of_moving(*values: Array) -> list[Array]:
            args = list(primals)
            for i, value in zip(moving, values, strict=True):
                args[i] = value
            return jaxpr_as_fun(fun)(*args)

        _, more = jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])
        total = list(map(ad.add_tangents, total, more))
    return results, total


def _transpose(gradients: Any, *args: Any, fun: ClosedJaxpr, transpose: Callable, count: int):
    if all(type(g) is ad.Zero for g in gradients):
        return [None] * count + [ad.Zero(x.aval.to_ct_aval()) for x in args[count:]]
    residuals, gradients = args[:count], list(map(ad.instantiate_zeros, gradients))
    turned = jax.make_jaxpr(transpose)(*residuals, *gradients)
    forward = jaxpr_as_fun(fun)
    found = _call.bind(*residuals, *gradients, fun=turned, transpose=forward, count=count)
    return [None] * count + found


def _map(args: Any, axes: Any, *, fun: ClosedJaxpr, transpose: Callable, count: int):
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)

    def bring(x: Array, axis: int | None, every: bool) -> Array:
        if axis is not None:
            return jnp.moveaxis(x, axis, 0)
        return jnp.broadcast_to(x, (size, *x.shape)) if every else x

    args = [bring(x, a, i >= count) for i, (x, a) in enumerate(zip(args, axes, strict=True))]
    shared = [None if a is None else 0 for a in axes[:count]]
    mapped = jax.vmap(jaxpr_as_fun(fun), (*shared, *(0 for _ in args[count:])))
    turned = jax.vmap(transpose, (*shared, *(0 for _ in fun.out_avals)))
    results = _call.bind(*args, fun=jax.make_jaxpr(mapped)(*args), transpose=turned, count=count)
    return results, [0] * len(results)


ad.primitive_jvps[_call] = _differentiate
ad.primitive_transposes[_call] = _transpose
batching.primitive_batchers[_call] = _map
