"""JAX's primitives as ONNX nodes (opset 18): those that our models are made of.

Each function takes the graph, the equation and its inputs, and returns its output, or a list.

"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core
from onnx import TensorProto, helper

from common.errors import UserError
from common.export.onnx_graph import Graph, Tensor
from common.export.onnx_indexing import gather, scatter, scatter_add

OPSET = 18

Operation = Callable[..., Tensor | list[Tensor]]


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
        if name not in OPERATIONS:
            raise UserError(f"ONNX has no counterpart here of JAX's {name}")
        found = OPERATIONS[name](graph, equation, *map(read, equation.invars))
        found = found if isinstance(found, list) else [found]
        values |= zip(equation.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def element_type(dtype: Any) -> int:
    """Returns ONNX's number of a type."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _made(equation: Any, name: str, **rest: Any) -> Tensor:
    return Tensor(name, equation.outvars[0].aval.shape, **rest)


# ---------------------------------------------------------------- one position at a time


def _elementwise(make: Callable[..., str]) -> Operation:
    """Of a function of the graph and names; axes that all inputs have thin stay so."""

    def operation(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
        axes = range(len(equation.outvars[0].aval.shape))
        shaped = [x for x in inputs if x.shape]
        thin = frozenset(axis for axis in axes if all(axis in x.thin for x in shaped))
        name = make(graph, *(x.name for x in inputs), **_kept(equation, make))
        return _made(equation, name, thin=thin)

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


# ---------------------------------------------------------------- shapes


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
        return _made(equation, made.name, thin=thin, value=made.value)
    name = graph.node("Unsqueeze", x.name, graph.numbers(*new)) if new else x.name
    return _made(equation, name, thin=thin)


def _reshape(graph: Graph, equation: Any, x: Tensor, *sizes: Tensor) -> Tensor:
    del sizes
    new = equation.params["new_sizes"]
    if x.value is not None and not x.thin:
        made = graph.constant(x.value.reshape(new))
        return _made(equation, made.name, value=made.value)
    return _made(equation, graph.reshape(graph.full(x), x.shape, new))


def _transpose(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    order = [int(axis) for axis in equation.params["permutation"]]
    thin = frozenset(place for place, axis in enumerate(order) if axis in x.thin)
    if x.value is not None:
        made = graph.constant(x.value.transpose(order))
        return _made(equation, made.name, thin=thin, value=made.value)
    return _made(equation, graph.node("Transpose", x.name, perm=order), thin=thin)


def _squeeze(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    gone = [int(axis) for axis in equation.params["dimensions"]]
    kept = [axis for axis in range(len(x.shape)) if axis not in gone]
    thin = frozenset(place for place, axis in enumerate(kept) if axis in x.thin)
    return _made(equation, graph.node("Squeeze", x.name, graph.numbers(*gone)), thin=thin)


def _concatenate(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
    names = (graph.full(x) for x in inputs)
    return _made(equation, graph.node("Concat", *names, axis=int(equation.params["dimension"])))


def _stack(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
    axis = int(equation.params["axis"])
    parts = (graph.node("Unsqueeze", graph.full(x), graph.numbers(axis)) for x in inputs)
    return _made(equation, graph.node("Concat", *parts, axis=axis))


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
    return _made(equation, graph.node("Slice", name, *inputs), thin=thin)


def _pad(graph: Graph, equation: Any, x: Tensor, value: Tensor, *sizes: Tensor) -> Tensor:
    del sizes
    before, after, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise UserError("ONNX can't pad between positions")
    name = graph.node("Pad", graph.full(x), graph.sizes((*before, *after)), value.name)
    return _made(equation, name)


def _iota(graph: Graph, equation: Any, *sizes: Tensor) -> Tensor:
    """Numbers along one axis; all others are thin."""
    del sizes
    params = equation.params
    axis, shape = params["dimension"], params["shape"]
    others = [a for a in range(len(shape)) if a != axis]
    thin = frozenset(a for a in others if str(shape[a]) != "1")
    if isinstance(shape[axis], int):
        made = graph.constant(np.expand_dims(np.arange(shape[axis], dtype=params["dtype"]), others))
        return _made(equation, made.name, thin=thin, value=made.value)
    count = graph.node("Squeeze", graph.size(shape[axis]))
    zero, one = (graph.constant(n, np.int64).name for n in (0, 1))
    name = graph.node("Range", zero, count, one)
    name = graph.node("Cast", name, to=element_type(params["dtype"]))
    name = graph.node("Unsqueeze", name, graph.numbers(*others)) if others else name
    return _made(equation, name, thin=thin)


def _dim_as_value(graph: Graph, equation: Any) -> Tensor:
    name = graph.node("Squeeze", graph.size(equation.params["dim"]))
    return _made(
        equation, graph.node("Cast", name, to=element_type(equation.outvars[0].aval.dtype))
    )


# ---------------------------------------------------------------- sums and products


def _reduce(kind: str) -> Operation:
    def operation(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        axes = graph.numbers(*map(int, equation.params["axes"]))
        return _made(equation, graph.node(kind, graph.full(x), axes, keepdims=0))

    return operation


def _reduce_logical(kind: str) -> Operation:
    def operation(graph: Graph, equation: Any, x: Tensor) -> Tensor:
        axes = graph.numbers(*map(int, equation.params["axes"]))
        number = graph.node("Cast", graph.full(x), to=TensorProto.INT32)
        number = graph.node(kind, number, axes, keepdims=0)
        return _made(equation, graph.node("Cast", number, to=TensorProto.BOOL))

    return operation


def _argmax(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    (axis,) = equation.params["axes"]
    name = graph.node("ArgMax", graph.full(x), axis=int(axis), keepdims=0)
    name = graph.node("Cast", name, to=element_type(equation.params["index_dtype"]))
    return _made(equation, name)


def _cumsum(graph: Graph, equation: Any, x: Tensor) -> Tensor:
    axis = graph.constant(equation.params["axis"], np.int64).name
    backwards = int(equation.params["reverse"])
    return _made(equation, graph.node("CumSum", graph.full(x), axis, reverse=backwards))


def _top_k(graph: Graph, equation: Any, x: Tensor) -> list[Tensor]:
    count, axis = graph.sizes([equation.params["k"]]), int(equation.params["axis"])
    best, index = graph.node_of_many("TopK", [graph.full(x), count], 2, axis=axis)
    first, second = equation.outvars
    index = graph.node("Cast", index, to=element_type(second.aval.dtype))
    return [Tensor(best, first.aval.shape), Tensor(index, second.aval.shape)]


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
    return _made(equation, name)


def _ordered(graph: Graph, x: Tensor, order: Sequence[int]) -> str:
    order = [int(axis) for axis in order]
    if order == list(range(len(order))):
        return graph.full(x)
    if x.value is not None and not x.thin:
        return graph.constant(x.value.transpose(order)).name
    return graph.node("Transpose", graph.full(x), perm=order)


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
    return _made(equation, graph.node("Transpose", name, perm=back))


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
        name = graph.node(kind, _ordered(graph, x, (0, 3, 1, 2)), **settings)
        name = graph.node("Transpose", name, perm=[0, 2, 3, 1])
        if kind == "AveragePool":  # ONNX has means, JAX sums
            count = graph.constant(math.prod(window), equation.outvars[0].aval.dtype)
            name = graph.node("Mul", name, count.name)
        return _made(equation, name)

    return operation


# ---------------------------------------------------------------- programs in programs


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
    ins += [
        info(x.name, element_type(variable.aval.dtype), None)
        for x, variable in zip(state, variables, strict=True)
    ]
    outs = [info(on, TensorProto.BOOL, [])]
    outs += [
        info(name, element_type(variable.aval.dtype), None)
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


OPERATIONS: dict[str, Operation] = {
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
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_prod": _reduce("ReduceProd"),
    "reduce_and": _reduce_logical("ReduceMin"),
    "reduce_or": _reduce_logical("ReduceMax"),
    "argmax": _argmax,
    "cumsum": _cumsum,
    "top_k": _top_k,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "reduce_window_sum": _window("AveragePool"),
    "reduce_window_max": _window("MaxPool"),
    "gather": gather,
    "scatter": scatter,
    "scatter-add": scatter_add,
    "jit": _inlined("jaxpr"),
    "closed_call": _inlined("call_jaxpr"),
    "remat2": _inlined("jaxpr"),
    "custom_jvp_call": _inlined("call_jaxpr"),
    "custom_vjp_call": _inlined("call_jaxpr"),
    "scan": _scan,
}
