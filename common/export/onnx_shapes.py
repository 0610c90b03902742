"""JAX's primitives that make, move, cut and join arrays, as ONNX nodes."""

from typing import Any

import numpy as np

from common.errors import UserError
from common.export.onnx_graph import Graph, Operation, Tensor, element_type, result


def _broadcast(graph: Graph, equation: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    """Adds axes; along new ones, and old ones of size 1, the tensor stays thin."""
    del sizes
    shape, places = equation.params["shape"], equation.params["broadcast_dimensions"]
    axis_of = {place: axis for axis, place in enumerate(places)}
    thin = frozenset(
        place
        for place, size in enumerate(shape)
        if place not in axis_of
        or axis_of[place] in x.thin
        or str(x.shape[axis_of[place]]) != str(size)
    )
    thin = frozenset(place for place in thin if str(shape[place]) != "1")
    new = [place for place in range(len(shape)) if place not in axis_of]
    if x.value is not None:
        made = graph.constant(np.expand_dims(x.value, new))
        return result(equation, made.name, thin=thin, value=made.value)
    name = graph.node("Unsqueeze", x.name, graph.numbers(*new)) if new else x.name
    return result(equation, name, thin=thin)


def _reshape(graph: Graph, equation: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    del sizes
    new = equation.params["new_sizes"]
    if x.value is not None and not x.thin:
        made = graph.constant(x.value.reshape(new))
        return result(equation, made.name, value=made.value)
    return result(equation, graph.reshape(graph.full(x), x.shape, new))


def _transpose(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    order = [int(axis) for axis in equation.params["permutation"]]
    thin = frozenset(place for place, axis in enumerate(order) if axis in x.thin)
    if x.value is not None:
        made = graph.constant(x.value.transpose(order))
        return result(equation, made.name, thin=thin, value=made.value)
    return result(equation, graph.node("Transpose", x.name, perm=order), thin=thin)


def _squeeze(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    gone = [int(axis) for axis in equation.params["dimensions"]]
    kept = [axis for axis in range(len(x.shape)) if axis not in gone]
    thin = frozenset(place for place, axis in enumerate(kept) if axis in x.thin)
    return result(equation, graph.node("Squeeze", x.name, graph.numbers(*gone)), thin=thin)


def _concatenate(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
    names = (graph.full(x) for x in inputs)
    return result(equation, graph.node("Concat", *names, axis=int(equation.params["dimension"])))


def _stack(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
    axis = int(equation.params["axis"])
    parts = (graph.node("Unsqueeze", graph.full(x), graph.numbers(axis)) for x in inputs)
    return result(equation, graph.node("Concat", *parts, axis=axis))


def _split(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
    sizes = graph.sizes(equation.params["sizes"])
    count, axis = len(equation.outvars), int(equation.params["axis"])
    names = graph.node_of_many("Split", [graph.full(x), sizes], count, axis=axis)
    pairs = zip(names, equation.outvars, strict=True)
    return [Tensor(name, variable.aval.shape) for name, variable in pairs]


def _slice(graph: Graph, equation: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    del sizes
    starts, limits = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or (1,) * len(starts)
    rows = zip(starts, limits, steps, x.shape, strict=True)
    cut = [
        (axis, start, limit, step)
        for axis, (start, limit, step, size) in enumerate(rows)
        if (str(start), str(limit), step) != ("0", str(size), 1)
    ]
    if not cut:
        return x
    name = x.name if x.thin.isdisjoint(axis for axis, *_ in cut) else graph.full(x)
    thin = x.thin if name == x.name else frozenset()
    axes, starts, limits, steps = zip(*cut, strict=True)
    inputs = graph.sizes(starts), graph.sizes(limits), graph.numbers(*axes), graph.numbers(*steps)
    return result(equation, graph.node("Slice", name, *inputs), thin=thin)


def _pad(graph: Graph, equation: Any, x: Tensor, value: Tensor, *sizes: Tensor) -> Tensor:
    del sizes
    before, after, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise UserError("ONNX can't pad between positions")
    name = graph.node("Pad", graph.full(x), graph.sizes((*before, *after)), value.name)
    return result(equation, name)


def _iota(graph: Graph, equation: Any, *sizes: Tensor) -> Tensor:
    """Numbers along one axis; all others are thin."""
    del sizes
    params = equation.params
    axis, shape = params["dimension"], params["shape"]
    others = [a for a in range(len(shape)) if a != axis]
    thin = frozenset(a for a in others if str(shape[a]) != "1")
    if isinstance(shape[axis], int):
        made = graph.constant(np.expand_dims(np.arange(shape[axis], dtype=params["dtype"]), others))
        return result(equation, made.name, thin=thin, value=made.value)
    count = graph.node("Squeeze", graph.size(shape[axis]))
    zero, one = (graph.constant(n, np.int64).name for n in (0, 1))
    name = graph.node("Range", zero, count, one)
    name = graph.node("Cast", name, to=element_type(params["dtype"]))
    name = graph.node("Unsqueeze", name, graph.numbers(*others)) if others else name
    return result(equation, name, thin=thin)


def _dim_as_value(graph: Graph, equation: Any) -> Tensor:
    name = graph.node("Squeeze", graph.size(equation.params["dim"]))
    return result(
        equation, graph.node("Cast", name, to=element_type(equation.outvars[0].aval.dtype))
    )


SHAPES: dict[str, Operation] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "slice": _slice,
    "pad": _pad,
    "iota": _iota,
    "dim_as_value": _dim_as_value,
}
