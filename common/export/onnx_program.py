"""A traced program as ONNX nodes (opset 18), and the programs within it.

Each primitive of JAX that our models are made of has a function of the graph, the equation and its
inputs, which returns its output, or a list.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core
from onnx import TensorProto, helper

from common.errors import UserError
from common.export.onnx_contractions import CONTRACTIONS
from common.export.onnx_elementwise import ELEMENTWISE
from common.export.onnx_graph import Graph, Operation, Tensor, element_type
from common.export.onnx_indexing import INDEXING
from common.export.onnx_reductions import REDUCTIONS
from common.export.onnx_shapes import SHAPES

OPSET = 18


def convert(graph: Graph, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Tensor]) -> list:
    """Adds the nodes of a program to a graph.

    Args:
      graph: to add to.
      jaxpr: the program.
      constants: that it closes over; arrays or tensors of the graph.
      inputs: tensors of the graph.

    Returns:
      Its outputs, as tensors of the graph.

    Raises:
      UserError: a primitive that no function stands here for.
    """
    values = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, constant in zip(jaxpr.constvars, constants, strict=True):
        given = isinstance(constant, Tensor)
        values[variable] = constant if given else graph.constant(np.asarray(constant))

    def read(atom: Any) -> Tensor:
        if isinstance(atom, core.Literal):
            return graph.constant(atom.val, atom.aval.dtype)
        return values[atom]

    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name not in _OPERATIONS:
            raise UserError(f"ONNX has no counterpart here of JAX's {name}")
        found = _OPERATIONS[name](graph, equation, *map(read, equation.invars))
        found = found if isinstance(found, list) else [found]
        values |= zip(equation.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _inlined(parameter: str) -> Operation:
    def operation(graph: Graph, equation: Any, *inputs: Tensor) -> list[Tensor]:
        inner = equation.params[parameter]
        if isinstance(inner, core.ClosedJaxpr):
            return convert(graph, inner.jaxpr, inner.consts, inputs)
        return convert(graph, inner, (), inputs)

    return operation


def _scan(graph: Graph, equation: Any, *inputs: Tensor) -> list[Tensor]:
    """A Loop: constants are seen from inside, inputs of a step are taken by its number."""
    params = equation.params
    constants, carried = params["num_consts"], params["num_carry"]
    if params["reverse"]:
        raise UserError("ONNX has no loop that runs backwards")
    shared = [Tensor(graph.full(x), x.shape) for x in inputs[:constants]]
    start = inputs[constants : constants + carried]
    stepped = [Tensor(graph.full(x), x.shape) for x in inputs[constants + carried :]]
    inner, body = params["jaxpr"], graph.body()
    number, going = body.new_name(), body.new_name()
    variables = inner.jaxpr.invars[constants : constants + carried]
    state = [Tensor(body.new_name(), variable.aval.shape) for variable in variables]
    parts = [Tensor(body.node("Gather", x.name, number, axis=0), x.shape[1:]) for x in stepped]
    found = convert(body, inner.jaxpr, inner.consts, [*shared, *state, *parts])
    on = body.node("Identity", going)
    outputs = [body.node("Identity", body.full(x)) for x in found]
    info = helper.make_tensor_value_info
    ins = [info(number, TensorProto.INT64, []), info(going, TensorProto.BOOL, [])]
    ins += [_info(x.name, variable.aval) for x, variable in zip(state, variables, strict=True)]
    outs = [info(on, TensorProto.BOOL, [])]
    outs += [
        _info(name, variable.aval)
        for name, variable in zip(outputs, inner.jaxpr.outvars, strict=True)
    ]
    names = graph.node_of_many(
        "Loop",
        [
            graph.constant(params["length"], np.int64).name,
            graph.constant(True).name,
            *(graph.full(x) for x in start),
        ],
        len(equation.outvars),
        body=helper.make_graph(body.nodes, "body", ins, outs),
    )
    pairs = zip(names, equation.outvars, strict=True)
    return [Tensor(name, variable.aval.shape) for name, variable in pairs]


def _info(name: str, aval: Any) -> Any:
    """What goes into a loop's body or comes out; OpenVINO asks for the number of axes."""
    sizes = [size if isinstance(size, int) else None for size in aval.shape]
    return helper.make_tensor_value_info(name, element_type(aval.dtype), sizes)


_OPERATIONS: dict[str, Operation] = {
    **ELEMENTWISE,
    **SHAPES,
    **REDUCTIONS,
    **CONTRACTIONS,
    **INDEXING,
    "jit": _inlined("jaxpr"),
    "closed_call": _inlined("call_jaxpr"),
    "remat2": _inlined("jaxpr"),
    "custom_jvp_call": _inlined("call_jaxpr"),
    "custom_vjp_call": _inlined("call_jaxpr"),
    "scan": _scan,
}
