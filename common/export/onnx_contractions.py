"""JAX's matrix products and convolutions as ONNX nodes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import UserError
from common.export.onnx_graph import Graph, Operation, Tensor, result


def _dot(graph: Graph, equation: Any, x: Tensor, y: Tensor) -> Tensor:
    """A matrix product, of axes in the order batch, rows and columns, each of several axes."""
    (x_summed, y_summed), (x_batch, y_batch) = equation.params["dimension_numbers"]
    x_free = [a for a in range(len(x.shape)) if a not in (*x_summed, *x_batch)]
    y_free = [a for a in range(len(y.shape)) if a not in (*y_summed, *y_batch)]
    first = _ordered(graph, x, (*x_batch, *x_free, *x_summed))
    second = _ordered(graph, y, (*y_batch, *y_summed, *y_free))
    out = equation.outvars[0].aval.shape
    batch = [x.shape[a] for a in x_batch]
    summed = [x.shape[a] for a in x_summed]
    rows, columns = [x.shape[a] for a in x_free], [y.shape[a] for a in y_free]
    # Rows of several axes need no batch beside them: ONNX takes them for batches.
    if len(summed) != 1 or (len(rows) != 1 and (batch or not rows)):
        old = [*batch, *rows, *summed]
        first = graph.reshape(first, old, [*batch, math.prod(rows), math.prod(summed)])
        rows = [math.prod(rows)]
    if len(summed) != 1 or len(columns) != 1:
        old = [*batch, *summed, *columns]
        second = graph.reshape(second, old, [*batch, math.prod(summed), math.prod(columns)])
        columns = [math.prod(columns)]
    name, found = graph.node("MatMul", first, second), (*batch, *rows, *columns)
    if list(map(str, found)) != list(map(str, out)):
        name = graph.reshape(name, found, out)
    return result(equation, name)


def _ordered(graph: Graph, x: Tensor, order: Sequence[int]) -> str:
    if x.value is not None and not x.thin:
        return graph.constant(x.value.transpose(order)).name
    return graph.ordered(graph.full(x), order)


def _convolution(graph: Graph, equation: Any, x: Tensor, kernel: Tensor) -> Tensor:
    params = equation.params
    axes = params["dimension_numbers"]
    before, after = zip(*params["padding"], strict=True)
    if not all(isinstance(pixels, int | np.integer) for pixels in (*before, *after)):
        raise UserError("ONNX convolves images of open sides only where they are multiples")
    plain = {*params["rhs_dilation"], *params["window_strides"], params["feature_group_count"]}
    images, pads = _ordered(graph, x, axes.lhs_spec), [int(n) for n in (*before, *after)]
    if {*params["lhs_dilation"]} == {1}:
        name = graph.node(
            "Conv",
            images,
            _ordered(graph, kernel, axes.rhs_spec),
            strides=params["window_strides"],
            pads=pads,
            dilations=params["rhs_dilation"],
            group=params["feature_group_count"],
        )
    elif plain == {1} and kernel.value is not None and not kernel.thin:
        out_axis, in_axis, *sides = axes.rhs_spec
        turned = np.flip(kernel.value, sides).transpose(in_axis, out_axis, *sides)
        reach = [side - 1 for side in turned.shape[2:]] * 2
        name = graph.node(
            "ConvTranspose",
            images,
            graph.constant(turned).name,
            strides=params["lhs_dilation"],
            pads=[side - width for side, width in zip(reach, pads, strict=True)],
        )
    else:
        raise UserError("ONNX has no transposed convolution of this kind")
    back = [int(place) for place in np.argsort(axes.out_spec)]
    return result(equation, graph.node("Transpose", name, perm=back))


CONTRACTIONS: dict[str, Operation] = {
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
}
