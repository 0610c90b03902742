"""ONNX: what onnxruntime and OpenVINO read."""

import json
from pathlib import Path
from typing import Any

import jax

from common.errors import UserError
from common.kernels.choose import preferring
from common.program import Program

SUFFIX = ".onnx"
_LARGEST = 2**31 - 1  # bytes of a protocol buffer


def write(path: Path, program: Program) -> None:
    """Writes an ONNX file, whose `metadata_props` are the program's metadata: texts, or JSON.

    Args:
      path: of the file to make.
      program: its weights become initialisers.

    Raises:
      UserError: the package onnx isn't installed, or a model has something that ONNX lacks.
    """
    try:
        import onnx
        from onnx import helper

        from common.export.onnx_graph import Graph, Tensor, element_type
        from common.export.onnx_program import OPSET, convert
    except ImportError as error:
        raise UserError("ONNX files need the package onnx: pip install '.[onnx]'") from error

    inputs = program.abstract_inputs()

    def plain(
        inputs: Any,
    ) -> Any:  # new to JAX, which remembers traces of functions
        return program(inputs)

    with preferring("reference"):  # what runtimes have kernels of their own for
        traced, outputs = jax.make_jaxpr(plain, return_shape=True)(inputs)
    weights = sum(array.nbytes for array in jax.tree.leaves(program.variables))
    if weights > _LARGEST:
        raise UserError(f"weights of {weights:,} bytes are too large for an ONNX file")
    symbols: dict[str, str] = {}
    graph = Graph(symbols)
    for name, given in program.inputs.items():
        for axis, size in enumerate(given.shape):
            factor, _, symbol = str(size).rpartition("*")
            if not symbol.isdecimal() and symbol not in symbols:
                length = graph.node("Shape", name, start=axis, end=axis + 1)
                divided = (length, graph.numbers(int(factor or 1)))
                symbols[symbol] = graph.node("Div", *divided)
    # jax.tree orders dictionaries by their keys.
    arguments = [Tensor(name, inputs[name].shape) for name in sorted(inputs)]
    found = convert(graph, traced.jaxpr, traced.consts, arguments)
    for name, tensor in zip(sorted(outputs), found, strict=True):
        graph.nodes.append(helper.make_node("Identity", [graph.full(tensor)], [name]))

    def info(name: str, array: Any) -> onnx.ValueInfoProto:
        sizes = [size if isinstance(size, int) else str(size) for size in array.shape]
        return helper.make_tensor_value_info(name, element_type(array.dtype), sizes)

    made = helper.make_graph(
        graph.nodes,
        "program",
        [info(name, inputs[name]) for name in program.inputs],
        [info(name, outputs[name]) for name in program.outputs],
        graph.initializers(_used(graph.nodes)),
    )
    # 8: what opset 18 came with; newer ones are refused by runtimes of that time.
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    for key, value in program.metadata().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    path.write_bytes(model.SerializeToString())


def _used(nodes: Any) -> set[str]:
    """Names that nodes take, in the bodies of loops too."""
    used = set()
    for node in nodes:
        used.update(node.input)
        for attribute in node.attribute:
            used |= _used(attribute.g.node)
    return used
