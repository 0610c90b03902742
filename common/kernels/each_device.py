"""Kernels of our own in programs for several devices: XLA can't split what it can't look into."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import Array, ShapeDtypeStruct, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

HEADS = "tensor"  # the mesh axis that attention heads split over; examples split over all others


class Axes(NamedTuple):
    """Which axis of an array counts examples and which heads; None: it has no such axis."""

    examples: int | None = None
    heads: int | None = None


def call_on_each_device(
    kernel: Callable[..., Callable[..., list[Array]] | None],
    plain: Callable[..., list[Array]],
    args: Sequence[Array],
    shapes: Sequence[ShapeDtypeStruct],
    in_axes: Sequence[Axes],
    out_axes: Sequence[Axes],
    platform: str,
) -> list[Array]:
    """Runs a kernel on every device's part of the examples and heads.

    That is decided when the program is compiled, which is when its devices are known: for other
    platforms than it is compiled for, nothing is even traced. The plain formulation runs instead
    where there is no kernel for a part, and where JAX knows no mesh of several devices.

    Args:
      kernel: of the shapes of a part's arguments, and `chip`, the kind of device as JAX names it,
        None on other platforms than its own, where it is interpreted; gives the function that runs
        it, None if there is none for these.
      plain: computes the same without the kernel, for any shapes.
      args: of both.
      shapes: of the results.
      in_axes: what splits each of them.
      out_axes: the same of the results; those without an axis of examples are sums over examples.
      platform: that the kernel is written for, `"tpu"` or `"cuda"`.
    """
    return _call.bind(
        *args,
        kernel=kernel,
        plain=plain,
        in_axes=tuple(in_axes),
        out_axes=tuple(out_axes),
        shapes=tuple((x.shape, x.dtype) for x in shapes),
        platform=platform,
    )


_call = Primitive("kernel_on_each_device")
_call.multiple_results = True
with contextlib.suppress(ImportError):
    # Otherwise a lowering rule gets to know how many devices there are, but not their mesh. A JAX
    # that no longer has it runs the plain formulation on several devices.
    from jax._src.dispatch import prim_requires_devices_during_lowering

    prim_requires_devices_during_lowering.add(_call)


@_call.def_impl
def _run(*args: Array, **settings: Any) -> list[Array]:
    return jax.jit(partial(_call.bind, **settings))(*args)


@_call.def_abstract_eval
def _shapes(*_: Any, shapes: Any, **__: Any) -> list[Any]:
    return [jax.core.ShapedArray(*shape) for shape in shapes]


def _differentiate(primals: Any, tangents: Any, *, plain: Callable, **_: Any):
    return jax.jvp(plain, primals, [ad.instantiate_zeros(t) for t in tangents])


def _map(args: Any, axes: Any, *, plain: Callable, **_: Any):
    results = jax.vmap(plain, axes)(*args)
    return results, [0] * len(results)


ad.primitive_jvps[_call] = _differentiate
batching.primitive_batchers[_call] = _map


def _lower(
    ctx: Any, *args: Any, lowered_for: str, kernel, plain, in_axes, out_axes, shapes, platform
):
    context = ctx.module_context.axis_context
    kernel = partial(kernel, chip=_chip(context) if lowered_for == platform else None)
    avals = [ShapeDtypeStruct(x.shape, x.dtype) for x in ctx.avals_in]
    mesh, run = getattr(context, "abstract_mesh", None), None
    if getattr(context, "num_devices", None) == 1:
        run = kernel(*avals)
    elif mesh is not None:
        run = _split(kernel, avals, mesh, in_axes, out_axes)
    return mlir.lower_fun(run or plain, multiple_results=True)(ctx, *args)


mlir.register_lowering(_call, partial(_lower, lowered_for="default"))
for _platform in ("tpu", "cuda"):
    mlir.register_lowering(_call, partial(_lower, lowered_for=_platform), platform=_platform)


def parts_of_examples(context: Any) -> int | None:
    """In how many parts devices hold the examples; None where JAX knows no mesh of several.

    Args:
      context: of axes, of a module that is lowered.
    """
    if getattr(context, "num_devices", None) == 1:
        return 1
    mesh = getattr(context, "abstract_mesh", None)
    return None if mesh is None else math.prod(mesh.shape[name] for name in _examples(mesh))


def _examples(mesh: AbstractMesh) -> tuple[str, ...]:
    """The axes that split examples."""
    return tuple(name for name in mesh.axis_names if name != HEADS)


def _chip(context: Any) -> str:
    """The kind of the devices that a program is for; "" where that isn't known."""
    devices = getattr(context, "device_assignment", None)
    return devices[0].device_kind if devices else ""


def _split(
    kernel: Callable[..., Callable[..., list[Array]] | None],
    avals: Sequence[ShapeDtypeStruct],
    mesh: AbstractMesh,
    in_axes: Sequence[Axes],
    out_axes: Sequence[Axes],
) -> Callable[..., list[Array]] | None:
    """The kernel over the parts of a mesh; None if they are not equal, or there is none for one."""
    others = _examples(mesh)
    counts = Axes(math.prod(mesh.shape[name] for name in others), mesh.shape.get(HEADS, 1))
    parts = []
    for aval, axes in zip(avals, in_axes, strict=True):
        sides = list(aval.shape)
        for axis, count in zip(axes, counts, strict=True):
            if axis is not None:
                if sides[axis] % count:
                    return None
                sides[axis] //= count
        parts.append(ShapeDtypeStruct(sides, aval.dtype))
    run = kernel(*parts)
    if run is None:
        return None

    def spec(axes: Axes) -> P:
        names = {axes.examples: others, axes.heads: HEADS if HEADS in mesh.axis_names else None}
        names.pop(None, None)
        return P(*(names.get(axis) for axis in range(max(names, default=-1) + 1)))

    def part(*args: Array) -> list[Array]:
        return [
            lax.psum(y, others) if axes.examples is None else y
            for y, axes in zip(run(*args), out_axes, strict=True)
        ]

    specs = {"in_specs": tuple(map(spec, in_axes)), "out_specs": list(map(spec, out_axes))}
    return jax.shard_map(part, mesh=mesh, check_vma=False, **specs)
