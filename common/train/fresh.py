"""Fresh variables, compiled once for each kind of initial value.

The initialisers of a deep network are few, and drawn hundreds of times with other keys. In one
program every draw is compiled anew, most of all its random bits: half a minute for MAXIM S-1. Here
the bits come from programs for a few sizes, and what makes values of them is compiled once for all
arrays of a shape that are drawn alike, several at once. The values are those of `jax.jit(init)`,
bit for bit.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal

# Flax folds a number into the network's key to make that of a parameter.
_FOLD_IN, _BITS = "random_fold_in", "random_bits"
# Operations that are no more than the program they hold.
_CALLS = ("jit", "pjit", "call", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call")


def fresh_variables(init: Callable[[jax.Array], Any], rng: jax.Array, shardings: Any) -> Any:
    """Returns `jax.jit(init, out_shardings=shardings)(rng)`, which takes less time to compile.

    Args:
      init: of a key; returns a tree of arrays.
      rng: the key.
      shardings: where the arrays go, a tree like that of `init`.
    """
    closed, shapes = jax.make_jaxpr(init, return_shape=True)(rng)
    values = _inlined(closed, [_Given(rng)], itertools.count())
    targets = jax.tree.leaves(shardings)
    calls: dict[int, _Call] = {}
    # Constants, and what is not random: one program for all of them.
    rest = []
    programs: dict[Any, Callable[..., Any]] = {}
    for place, (value, sharding) in enumerate(zip(values, targets, strict=True)):
        part = _Part([value])
        if not part.draws:
            rest.append(place)
            continue
        kind = (part.kind, sharding)
        if kind not in programs:
            programs[kind] = jax.jit(part.compute, out_shardings=[sharding])
        calls[place] = _Call(programs[kind], part, [_drawn(draw, programs) for draw in part.draws])
    part = _Part([values[place] for place in rest])
    program = jax.jit(part.compute, out_shardings=[targets[place] for place in rest])
    others = _Call(program, part, [])
    _compile([*calls.values(), others])
    results = dict(zip(rest, others.run(), strict=True))
    results |= {place: call.run()[0] for place, call in calls.items()}
    return jax.tree.unflatten(jax.tree.structure(shapes), [results[n] for n in range(len(values))])


@dataclasses.dataclass(frozen=True)
class _Call:
    """A program and its arguments; bits that are drawn first come last.

    Attributes:
      program: returns a list of arrays.
      part: what it computes.
      draws: calls that give bits.
      size: of the bits that it gives itself.
    """

    program: Callable[..., Any]
    part: "_Part"
    draws: Sequence["_Call"]
    size: int = 0

    def run(self) -> list[jax.Array]:
        bits = [draw.run()[0] for draw in self.draws]
        return self.program(self.part.folded, self.part.given, bits)

    def lowered(self) -> jax.stages.Lowered:
        bits = [jax.ShapeDtypeStruct((draw.size,), "uint32") for draw in self.draws]
        return self.program.lower(self.part.folded, self.part.given, bits)

    def all(self) -> Iterator["_Call"]:
        """Itself and those that it needs."""
        yield self
        for draw in self.draws:
            yield from draw.all()


def _compile(calls: Sequence[_Call]) -> None:
    """Compiles the programs of calls, which find them again: one program takes a single core."""
    once = {call.program: call for one in calls for call in one.all()}
    lowered = [call.lowered() for call in once.values()]  # here: threads see no context of JAX's
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(lambda program: program.compile(), lowered):
            pass


# ---------------------------------------------------------------- random bits


def _drawn(draw: "_Operation", programs: dict[Any, Any]) -> _Call:
    """Returns what gives the bits of a draw, and further ones, so that sizes are few."""
    size = 2 ** max(10, (math.prod(draw.equation.params["shape"]) - 1).bit_length())
    key = _Part([draw.inputs[0]])
    bits = [_drawn(other, programs) for other in key.draws]
    if (program := programs.get((key.kind, size))) is None:

        @jax.jit
        def program(folded: list[Any], given: list[Any], bits: list[Any]) -> list[jax.Array]:
            return [jax.random.bits(*key.compute(folded, given, bits), (size,), "uint32")]

        programs[key.kind, size] = program
    return _Call(program, key, bits, size)


def _can_be_padded(equation: JaxprEqn) -> bool:
    """Whether the first bits of a longer draw are those of this one."""
    one_key = str(equation.invars[0].aval) == "key<fry>[]"
    counted = jax.config.jax_threefry_partitionable  # bits are functions of key and position
    return one_key and counted and equation.params["bit_width"] == 32


# ---------------------------------------------------------------- what a value is made of


@dataclasses.dataclass(frozen=True, eq=False)
class _Given:
    """An array that is known before."""

    array: Any


@dataclasses.dataclass(frozen=True, eq=False)
class _Operation:
    """An equation of a traced program and what goes into it, whose numbers are smaller."""

    number: int
    equation: JaxprEqn
    inputs: Sequence["_Value"]


@dataclasses.dataclass(frozen=True)
class _Result:
    """One of the results of an operation."""

    operation: _Operation
    index: int


_Value = _Given | _Result | Literal


def _inlined(program: Any, inputs: Sequence[_Value], numbers: itertools.count) -> list[_Value]:
    """Returns the outputs of a traced program, made by nothing but plain operations."""
    jaxpr, constants = getattr(program, "jaxpr", program), getattr(program, "consts", ())
    values = dict(zip(jaxpr.constvars, map(_Given, constants), strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)
    for equation in jaxpr.eqns:
        given = [x if isinstance(x, Literal) else values[x] for x in equation.invars]
        if equation.primitive.name in _CALLS:
            inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
            found = _inlined(inner, given, numbers)
        else:
            operation = _Operation(next(numbers), equation, given)
            found = [_Result(operation, index) for index in range(len(equation.outvars))]
        values |= zip(equation.outvars, found, strict=True)
    return [x if isinstance(x, Literal) else values[x] for x in jaxpr.outvars]


class _Part:
    """What some values are made of.

    Attributes:
      kind: equal where `compute` gives the values of both, from their own arguments.
      folded: numbers that are folded into keys.
      given: arrays that are known before.
      draws: of random bits, which are known before too.
    """

    def __init__(self, values: Sequence[_Value]):
        self._values = values
        self.folded, self.given, self.draws = [], [], []
        self._places = {}  # of operations and arrays in their lists
        self._operations, description = [], []
        for operation in _needed(values):
            if _is_draw(operation):
                self._places[operation] = len(self.draws)
                self.draws.append(operation)
                continue
            self._places[operation] = len(self._operations)
            self._operations.append(operation)
            equation = operation.equation
            folding = equation.primitive.name == _FOLD_IN
            inputs = tuple(self._described(x, folding) for x in operation.inputs)
            params = tuple((name, _hashable(x)) for name, x in sorted(equation.params.items()))
            description.append((equation.primitive, params, inputs))
        self.kind = (*description, *(self._described(x) for x in values))

    def _described(self, value: _Value, folding: bool = False) -> Any:
        if isinstance(value, _Result):
            shape = _is_draw(value.operation) and value.operation.equation.params["shape"]
            return self._places[value.operation], value.index, shape
        if isinstance(value, Literal):
            if folding:
                self.folded.append(np.asarray(value.val))
                return "folded"
            return str(value.aval), np.asarray(value.val).tobytes()
        if value not in self._places:
            self._places[value] = len(self.given)
            self.given.append(value.array)
        return "given", self._places[value], np.shape(value.array)

    def compute(self, folded: list[Any], given: list[Any], bits: list[Any]) -> list[Any]:
        """Returns the values; to be traced."""
        results, numbers = [], iter(folded)

        def value(x: _Value, folding: bool = False) -> Any:
            if isinstance(x, Literal):
                return next(numbers) if folding else x.val
            if isinstance(x, _Given):
                return given[self._places[x]]
            place = self._places[x.operation]
            if _is_draw(x.operation):
                shape = x.operation.equation.params["shape"]
                return bits[place][: math.prod(shape)].reshape(shape)
            return results[place][x.index]

        for operation in self._operations:
            primitive = operation.equation.primitive
            inputs = [value(x, primitive.name == _FOLD_IN) for x in operation.inputs]
            found = primitive.bind(*inputs, **operation.equation.params)
            results.append(found if primitive.multiple_results else [found])
        return [value(x) for x in self._values]


def _needed(values: Sequence[_Value]) -> list[_Operation]:
    """Returns the operations that values need, in order; nothing that only draws need."""
    found, pending = set(), list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, _Result) and value.operation not in found:
            found.add(value.operation)
            if not _is_draw(value.operation):
                pending.extend(value.operation.inputs)
    return sorted(found, key=lambda operation: operation.number)


def _is_draw(operation: _Operation) -> bool:
    equation = operation.equation
    return equation.primitive.name == _BITS and _can_be_padded(equation)


def _hashable(parameter: Any) -> Any:
    try:
        hash(parameter)
    except TypeError:
        return id(parameter)
    return parameter
