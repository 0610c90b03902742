"""JAX's primitives that work on one position at a time, as ONNX nodes."""

from collections.abc import Callable
from typing import Any

import jax
from onnx import TensorProto

from common.errors import UserError
from common.export.onnx_graph import Graph, Operation, Tensor, element_type, result


def _elementwise(make: Callable[..., str]) -> Operation:
    """Of a function of the graph and names; axes that all inputs have thin stay so."""

    def operation(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
        axes = range(len(equation.outvars[0].aval.shape))
        shaped = [x for x in inputs if x.shape]
        thin = frozenset(axis for axis in axes if all(axis in x.thin for x in shaped))
        name = make(graph, *(x.name for x in inputs), **_kept(equation, make))
        return result(equation, name, thin=thin)

    return operation


def _kept(equation: Any, make: Any) -> dict[str, Any]:
    return {"equation": equation} if getattr(make, "wants_equation", False) else {}


def _node(kind: str, **attributes: Any) -> Operation:
    return _elementwise(lambda graph, *names: graph.node(kind, *names, **attributes))


def _with_equation(make: Callable[..., str]) -> Callable[..., str]:
    make.wants_equation = True
    return make


@_with_equation
def _erfc(graph: Graph, x: str, *, equation: Any) -> str:
    one = graph.constant(1, equation.invars[0].aval.dtype).name
    return graph.node("Sub", one, graph.node("Erf", x))


@_with_equation
def _exp2(graph: Graph, x: str, *, equation: Any) -> str:
    return graph.node("Pow", graph.constant(2, equation.invars[0].aval.dtype).name, x)


@_with_equation
def _integer_pow(graph: Graph, x: str, *, equation: Any) -> str:
    power = equation.params["y"]
    if power < 0 or power > 3:
        return graph.node("Pow", x, graph.constant(power, equation.invars[0].aval.dtype).name)
    name = x
    for _ in range(power - 1):
        name = graph.node("Mul", name, x)
    return name


@_with_equation
def _logical(graph: Graph, *names: str, equation: Any) -> str:
    kinds = {"and": "And", "or": "Or", "not": "Not"}
    if equation.invars[0].aval.dtype != bool:
        kinds = {n: f"Bitwise{kind}" for n, kind in kinds.items()}
    return graph.node(kinds[equation.primitive.name], *names)


@_with_equation
def _round(graph: Graph, x: str, *, equation: Any) -> str:
    if equation.params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise UserError("ONNX rounds halves to even numbers, this model away from zero")
    return graph.node("Round", x)


@_with_equation
def _select(graph: Graph, which: str, first: str, second: str, *, equation: Any) -> str:
    which = graph.node("Cast", which, to=TensorProto.BOOL)
    if equation.outvars[0].aval.dtype != bool:
        return graph.node("Where", which, second, first)
    # onnxruntime's Where takes no booleans.
    cases = (graph.node("Cast", name, to=TensorProto.UINT8) for name in (second, first))
    return graph.node("Cast", graph.node("Where", which, *cases), to=TensorProto.BOOL)


def _cast(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    dtype = equation.params["new_dtype"]
    if x.value is not None:
        made = graph.constant(x.value, dtype)
        return x._replace(name=made.name, value=made.value)
    return x._replace(name=graph.node("Cast", x.name, to=element_type(dtype)))


def _same(graph: Graph, equation: Any, *inputs: Tensor) -> list[Tensor]:
    del graph, equation
    return list(inputs)


ELEMENTWISE: dict[str, Operation] = {
    **{
        name: _node(kind)
        for name, kind in {
            **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"},
            **{"max": "Max", "min": "Min", "pow": "Pow", "neg": "Neg", "abs": "Abs"},
            **{"sign": "Sign", "floor": "Floor", "ceil": "Ceil", "exp": "Exp", "log": "Log"},
            **{"sqrt": "Sqrt", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "sin": "Sin"},
            **{"cos": "Cos", "eq": "Equal", "lt": "Less", "gt": "Greater"},
            **{"le": "LessOrEqual", "ge": "GreaterOrEqual"},
        }.items()
    },
    "rem": _node("Mod", fmod=1),
    "ne": _elementwise(lambda graph, *names: graph.node("Not", graph.node("Equal", *names))),
    "square": _elementwise(lambda graph, x: graph.node("Mul", x, x)),
    "rsqrt": _elementwise(lambda graph, x: graph.node("Reciprocal", graph.node("Sqrt", x))),
    "clamp": _elementwise(
        lambda graph, low, x, high: graph.node("Min", graph.node("Max", x, low), high)
    ),
    "erfc": _elementwise(_erfc),
    "exp2": _elementwise(_exp2),
    "integer_pow": _elementwise(_integer_pow),
    "and": _elementwise(_logical),
    "or": _elementwise(_logical),
    "not": _elementwise(_logical),
    "round": _elementwise(_round),
    "select_n": _elementwise(_select),
    "convert_element_type": _cast,
    **dict.fromkeys(("copy", "stop_gradient", "optimization_barrier", "reduce_precision"), _same),
}
