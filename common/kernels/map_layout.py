"""How maps lie in the memory of TPUs: images next to channels, `[*spatial, batch, channels]`.

The kernel of window attention reads them so, and convolutions fuse with what stands around them
when all maps lie alike. Left alone, XLA chooses for every product, and copies maps in between.
"""

import contextlib
from typing import Any

from jax import Array
from jax.experimental.layout import Layout, with_layout_constraint
from jax.export import is_symbolic_dim
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from common.kernels.choose import choose
from common.kernels.each_device import parts_of_examples

FASTEST = {"tpu": "placed", "default": "reference"}
IMAGES = 8  # rows of a tile: XLA pads fewer


def images_by_channels(x: Array) -> Array:
    """The identity; on TPUs, the map and its gradient lie so where a device's images fill tiles.

    Args:
      x: `[batch, *spatial, channels]`; others stay as they are.
    """
    if x.ndim < 4 or is_symbolic_dim(x.shape[0]):
        return x
    formulations = {"reference": lambda x: x, "placed": _placed.bind}
    return choose("auto", formulations, FASTEST, x)


_placed = Primitive("images_by_channels")
_placed.def_impl(lambda x: x)
_placed.def_abstract_eval(lambda x: x)
ad.deflinear2(_placed, lambda gradient, _: (_placed.bind(gradient),))
batching.primitive_batchers[_placed] = lambda args, axes: (args[0], axes[0])
with contextlib.suppress(ImportError):
    # As in `each_device`: a JAX that no longer has it leaves the maps of several devices alone.
    from jax._src.dispatch import prim_requires_devices_during_lowering

    prim_requires_devices_during_lowering.add(_placed)


def _lower(ctx: Any, x: Any) -> Any:
    (aval,) = ctx.avals_in
    parts = parts_of_examples(ctx.module_context.axis_context)
    if parts is None or aval.shape[0] % (parts * IMAGES):
        return [x]
    layout = Layout((*range(1, aval.ndim - 1), 0, aval.ndim - 1))

    def place(x: Array) -> Array:
        return with_layout_constraint(x, layout)

    return mlir.lower_fun(place, multiple_results=False)(ctx, x)


mlir.register_lowering(_placed, lambda ctx, x: [x])
mlir.register_lowering(_placed, _lower, platform="tpu")
