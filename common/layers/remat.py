"""Rematerialisation: activations are computed again in the backward pass instead of stored."""

from typing import Any

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp


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

            @nn.remat
            def run(module: nn.Module, *arrays: Any) -> Any:
                return block.__call__(module, *arrays, train)

            def forward(module: nn.Module, *arrays: Any) -> Any:
                return nn.vjp(run, module, *arrays)

            def backward(vjp: Any, gradient: Any) -> Any:
                return _after(gradient, vjp)(gradient)

            return nn.custom_vjp(run, forward, backward)(self, *arrays)

    return Rematerialised


def _after(gradient: Any, tree: Any) -> Any:
    """The tree, but not before the gradient: NaN where that begins with NaN, else unchanged."""
    first = next(g for g in jax.tree.leaves(gradient) if jnp.issubdtype(g.dtype, jnp.floating))
    broken = jnp.isnan(first.ravel()[0])

    def wait(x: Array) -> Array:
        return jnp.where(broken, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(wait, tree)
