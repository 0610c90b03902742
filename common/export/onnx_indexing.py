"""JAX's gather and scatter as ONNX's: a part of an array, or whole slices of it at indices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode
from onnx import TensorProto

from common.errors import UserError
from common.export.onnx_graph import Graph, Operation, Tensor


def _gather(graph: Graph, equation: Any, x: Tensor, index: Tensor) -> Tensor:
    """Takes slices that are whole along some axes and one position wide along the indexed ones.

    An index outside gives the nearest position: JAX's own ones are inside, or clamped.
    """
    numbers, widths = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    indexed, batching = list(numbers.start_index_map), list(numbers.operand_batching_dims)
    places = _clamped(graph, index, [x.shape[a] - widths[a] for a in indexed])
    places, indexed = _without_whole(graph, places, indexed, x, widths)
    whole = [a for a in range(len(x.shape)) if a not in (*indexed, *batching)]
    shape = index.shape[:-1]
    if not shape and all(str(widths[a]) == str(x.shape[a]) for a in whole):
        ends = graph.node("Add", places, graph.sizes([widths[a] for a in indexed]))
        name = graph.node("Slice", graph.full(x), places, ends, graph.numbers(*indexed))
        gone = numbers.collapsed_slice_dims
        name = graph.node("Squeeze", name, graph.numbers(*gone)) if gone else name
        return Tensor(name, equation.outvars[0].aval.shape)
    one_wide = all(widths[a] == 1 for a in indexed)
    if not one_wide or any(str(widths[a]) != str(x.shape[a]) for a in whole):
        raise UserError(
            f"ONNX takes whole slices of arrays alone, not {widths} of {x.shape} at {indexed}"
        )
    moved = [*numbers.start_indices_batching_dims]
    others = [a for a in range(len(shape)) if a not in moved]
    operand = graph.ordered(graph.full(x), (*batching, *indexed, *whole))
    if not batching and len(indexed) == 1:
        flat = graph.node("Squeeze", places, graph.numbers(len(shape)))
        name = graph.node("Gather", operand, flat, axis=0)
    else:
        places = graph.ordered(places, (*moved, *others, len(shape)))
        name = graph.node("GatherND", operand, places, batch_dims=len(batching))
    # What is there: batching axes, other axes of the index, whole slices.
    out = equation.outvars[0].aval.shape
    window = [a for a in range(len(x.shape)) if a not in (*numbers.collapsed_slice_dims, *batching)]
    wide = [a for a in window if a not in indexed]
    offset = dict(zip(window, numbers.offset_dims, strict=True))
    spots = [a for a in range(len(out)) if a not in numbers.offset_dims]
    target = [*(spots[a] for a in (*moved, *others)), *(offset[a] for a in wide)]
    kept = sorted(target)
    name = graph.ordered(name, [target.index(place) for place in kept])
    single = [a for a in range(len(out)) if a not in kept]
    name = graph.node("Unsqueeze", name, graph.numbers(*single)) if single else name
    return Tensor(name, out)


def _scatter(graph: Graph, equation: Any, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """Sets whole slices at indices."""
    return _scattered(graph, equation, x, index, updates, "none")


def _scatter_add(graph: Graph, equation: Any, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    """Adds to whole slices at indices."""
    return _scattered(graph, equation, x, index, updates, "add")


def _scattered(
    graph: Graph, equation: Any, x: Tensor, index: Tensor, updates: Tensor, reduction: str
) -> Tensor:
    numbers = equation.params["dimension_numbers"]
    indexed = list(numbers.scatter_dims_to_operand_dims)
    batching = list(numbers.operand_batching_dims)
    gone = (*numbers.inserted_window_dims, *batching)
    whole = [a for a in range(len(x.shape)) if a not in gone]
    windows = [updates.shape[a] for a in numbers.update_window_dims]
    widths = dict.fromkeys(gone, 1) | dict(zip(whole, windows, strict=True))
    places = graph.node("Cast", graph.full(index), to=TensorProto.INT64)
    places, indexed = _without_whole(graph, places, indexed, x, widths)
    if sorted(numbers.inserted_window_dims) != sorted(indexed):
        raise UserError(f"ONNX writes whole slices of arrays alone, not {windows} of {x.shape}")
    shape = index.shape[:-1]
    rows = [a for a in range(len(updates.shape)) if a not in numbers.update_window_dims]
    sizes = [x.shape[a] for a in indexed]
    operand = graph.ordered(graph.full(x), (*batching, *indexed, *whole))
    news = graph.ordered(graph.full(updates), (*rows, *numbers.update_window_dims))
    axis = len(batching)
    drops = equation.params["mode"] == GatherScatterMode.FILL_OR_DROP and len(indexed) == 1
    if drops:  # one more position takes what is to be dropped
        zero, size = graph.numbers(0), graph.size(sizes[0])
        outside = graph.node(
            "Or", graph.node("Less", places, zero), graph.node("GreaterOrEqual", places, size)
        )
        places = graph.node("Where", outside, size, places)
        before, after = [0] * len(x.shape), [0] * len(x.shape)
        after[axis] = 1
        operand = _padded(graph, operand, x, (*before, *after), equation)
    if batching:  # ScatterND has none: their positions become part of the index
        own = []
        for place, axis_of_index in enumerate(numbers.scatter_indices_batching_dims):
            count = graph.node("Squeeze", graph.size(x.shape[batching[place]]))
            zero, one = (graph.constant(n, np.int64).name for n in (0, 1))
            line = graph.node("Range", zero, count, one)
            away = [a for a in range(len(shape) + 1) if a != axis_of_index]
            line = graph.node("Unsqueeze", line, graph.numbers(*away))
            own.append(graph.node("Expand", line, graph.sizes((*shape, 1))))
        places = graph.node("Concat", *own, places, axis=len(shape))
    name = graph.node("ScatterND", operand, places, news, reduction=reduction)
    if drops:
        ends = graph.size(sizes[0])
        name = graph.node("Slice", name, graph.numbers(0), ends, graph.numbers(axis))
    order = (*batching, *indexed, *whole)
    return Tensor(graph.ordered(name, np.argsort(order)), x.shape)


def _padded(graph: Graph, name: str, x: Tensor, widths: Sequence[int], equation: Any) -> str:
    """Zeros after the end; onnxruntime's Pad has no booleans of its own."""
    del x
    if equation.outvars[0].aval.dtype != bool:
        return graph.node("Pad", name, graph.numbers(*widths))
    number = graph.node("Cast", name, to=TensorProto.UINT8)
    return graph.node(
        "Cast", graph.node("Pad", number, graph.numbers(*widths)), to=TensorProto.BOOL
    )


def _without_whole(
    graph: Graph, places: str, indexed: Sequence[int], x: Tensor, widths: Any
) -> tuple[str, list[int]]:
    """Indices and their axes, without axes that are taken whole: there is but one place for it."""
    chosen = [
        column
        for column, a in enumerate(indexed)
        if str(widths[a]) != str(x.shape[a]) or _one(x, a)
    ]
    if not chosen or len(chosen) == len(indexed):
        return places, list(indexed)
    places = graph.node("Gather", places, graph.numbers(*chosen), axis=-1)
    return places, [indexed[column] for column in chosen]


def _one(x: Tensor, axis: int) -> bool:
    return str(x.shape[axis]) == "1"


def _clamped(graph: Graph, index: Tensor, last: Sequence[Any]) -> str:
    """int64 indices from 0 to the last ones."""
    if index.value is not None and all(isinstance(place, int) for place in last):
        inside = np.clip(index.value, 0, np.array(last))
        return graph.full(Tensor(graph.constant(inside, np.int64).name, index.shape, index.thin))
    places = graph.node("Cast", graph.full(index), to=TensorProto.INT64)
    return graph.node("Min", graph.node("Max", places, graph.numbers(0)), graph.sizes(last))


INDEXING: dict[str, Operation] = {
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter_add,
}
