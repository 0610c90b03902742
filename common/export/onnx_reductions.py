"""JAX's reductions, of axes and of windows, as ONNX nodes."""

import math
from typing import Any

import numpy as np
from onnx import TensorProto

from common.errors import UserError
from common.export.onnx_graph import Graph, Operation, Tensor, element_type, result


def _reduce(kind: str) -> Operation:
    def operation(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        axes = graph.numbers(*map(int, equation.params["axes"]))
        return result(equation, graph.node(kind, graph.full(x), axes, keepdims=0))

    return operation


def _reduce_logical(kind: str) -> Operation:
    def operation(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        axes = graph.numbers(*map(int, equation.params["axes"]))
        number = graph.node("Cast", graph.full(x), to=TensorProto.INT32)
        number = graph.node(kind, number, axes, keepdims=0)
        return result(equation, graph.node("Cast", number, to=TensorProto.BOOL))

    return operation


def _argmax(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (axis,) = equation.params["axes"]
    name = graph.node("ArgMax", graph.full(x), axis=int(axis), keepdims=0)
    name = graph.node("Cast", name, to=element_type(equation.params["index_dtype"]))
    return result(equation, name)


def _cumsum(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    axis = graph.constant(equation.params["axis"], np.int64).name
    backwards = int(equation.params["reverse"])
    return result(equation, graph.node("CumSum", graph.full(x), axis, reverse=backwards))


def _top_k(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
    count, axis = graph.sizes([equation.params["k"]]), int(equation.params["axis"])
    best, index = graph.node_of_many("TopK", [graph.full(x), count], 2, axis=axis)
    first, second = equation.outvars
    index = graph.node("Cast", index, to=element_type(second.aval.dtype))
    return [Tensor(best, first.aval.shape), Tensor(index, second.aval.shape)]


def _window(kind: str) -> Operation:
    """Of NHWC images."""

    def operation(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        params = equation.params
        window, steps = params["window_dimensions"], params["window_strides"]
        before, after = zip(*params["padding"], strict=True)
        inner = [window[0], window[3], steps[0], steps[3], before[0], before[3], after[0], after[3]]
        dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
        if len(window) != 4 or inner != [1, 1, 1, 1, 0, 0, 0, 0] or dilated:
            raise UserError("ONNX has pooling of images alone, channels last")
        settings = {"kernel_shape": window[1:3], "strides": steps[1:3]}
        settings["pads"] = [int(n) for n in (*before[1:3], *after[1:3])]
        if kind == "AveragePool":
            settings["count_include_pad"] = 1
        name = graph.node(kind, graph.ordered(graph.full(x), (0, 3, 1, 2)), **settings)
        name = graph.node("Transpose", name, perm=[0, 2, 3, 1])
        if kind == "AveragePool":  # ONNX has means, JAX sums
            count = graph.constant(math.prod(window), equation.outvars[0].aval.dtype)
            name = graph.node("Mul", name, count.name)
        return result(equation, name)

    return operation


REDUCTIONS: dict[str, Operation] = {
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_and": _reduce_logical("ReduceMin"),
    "reduce_or": _reduce_logical("ReduceMax"),
    "argmax": _argmax,
    "cumsum": _cumsum,
    "top_k": _top_k,
    "reduce_window_sum": _window("AveragePool"),
    "reduce_window_max": _window("MaxPool"),
}
