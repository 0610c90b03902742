"""An ONNX graph under construction: tensors by name, constants, and sizes that are open.

The package jax2onnx (0.17) is no alternative: it asks for an older Orbax, and takes neither these
models' open sizes nor their loops.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from common.export.onnx_sizes import computed

Size = Any  # an int, or what jax.export has for an open one
Operation = Callable[..., Any]  # of graph, equation and inputs: its output, or a list of them


class Tensor(NamedTuple):
    """A value of the program that is converted.

    Attributes:
      name: in the graph.
      shape: of the program's value, sizes may be symbolic.
      thin: axes along which the graph's tensor has a single position that stands for all: ONNX
        broadcasts, where JAX has the whole array.
      value: of a constant, thin as it is in the graph.
    """

    name: str
    shape: tuple[Size, ...]
    thin: frozenset[int] = frozenset()
    value: np.ndarray | None = None


def result(equation: Any, name: str, **rest: Any) -> Tensor:
    """Returns what an equation of one output computes.

    Args:
      equation: of the program.
      name: of the output in the graph.
      **rest: other attributes of the tensor.
    """
    return Tensor(name, equation.outvars[0].aval.shape, **rest)


def element_type(dtype: Any) -> int:
    """Returns ONNX's number of a type."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    """Nodes in order, of a whole program or of the body of a loop.

    Args:
      symbols: int64 tensors `[1]` by the name of an open size.
      outer: the graph whose node this one is the body of.
    """

    def __init__(self, symbols: Mapping[str, str], outer: "Graph | None" = None):
        self._symbols, self._outer = symbols, outer
        self._counter = outer._counter if outer else itertools.count()
        self._constants = outer._constants if outer else {}
        self._sizes: dict[str, str] = dict(outer._sizes) if outer else {}
        self.nodes: list[onnx.NodeProto] = []

    def body(self) -> "Graph":
        """Returns the graph of a loop's body, which sees all that is here."""
        return Graph(self._symbols, self)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns its name."""
        return self.node_of_many(kind, inputs, 1, **attributes)[0]

    def node_of_many(
        self, kind: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        """Adds a node and returns the names of its outputs."""
        outputs = [self.new_name() for _ in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def new_name(self) -> str:
        """Returns a name that nothing has yet."""
        return f"v{next(self._counter)}"

    def constant(self, value: Any, dtype: Any = None) -> Tensor:
        """Returns a constant."""
        array = np.asarray(value, dtype)
        name = self.new_name()
        self._constants[name] = array
        return Tensor(name, array.shape, value=array)

    def numbers(self, *values: int) -> str:
        """Returns a vector of int64."""
        return self.constant(values, np.int64).name

    def initializers(self, used: set[str]) -> list[onnx.TensorProto]:
        """Returns the constants among some names."""
        return [
            numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in self._constants.items()
            if name in used
        ]

    # ---------------------------------------------------------------- sizes

    def sizes(self, sizes: Sequence[Size]) -> str:
        """Returns a vector of int64, of numbers and symbolic sizes."""
        if all(isinstance(size, int | np.integer) for size in sizes):
            return self.numbers(*sizes)
        return self.node("Concat", *(self.size(size) for size in sizes), axis=0)

    def size(self, size: Size) -> str:
        """Returns one size as a vector `[1]`."""
        text = str(size)
        if text not in self._sizes:
            if isinstance(size, int | np.integer):
                self._sizes[text] = self.numbers(size)
            else:
                self._sizes[text] = computed(text, self._symbols, self.numbers, self.node)
        return self._sizes[text]

    # ---------------------------------------------------------------- shapes

    def full(self, x: Tensor) -> str:
        """Returns a tensor of the program's shape, nothing thin."""
        if not x.thin:
            return x.name
        return self.node("Expand", x.name, self.sizes(x.shape))

    def ordered(self, name: str, order: Sequence[int]) -> str:
        """Returns a tensor with its axes in another order."""
        order = [int(axis) for axis in order]
        if order == list(range(len(order))):
            return name
        return self.node("Transpose", name, perm=order)

    def reshape(self, name: str, old: Sequence[Size], new: Sequence[Size]) -> str:
        """Reshapes; sizes that stay in their place, and one more, need not be computed."""
        sizes, unknown = [], 0
        for axis, size in enumerate(new):
            if isinstance(size, int | np.integer):
                sizes.append(int(size))
            elif axis < len(old) and str(old[axis]) == str(size):
                sizes.append(0)
            else:
                sizes.append(-1)
                unknown += 1
        target = self.numbers(*sizes) if unknown <= 1 else self.sizes(new)
        return self.node("Reshape", name, target)
