"""What a program will need of a device's memory, estimated from its trace, without compiling it."""

import collections
import math
from collections.abc import Iterator, Mapping
from typing import Any

from jax.extend import core

# Computed again by whatever needs them, rather than stored: XLA fuses them.
_CHEAP_NAMES = (
    "abs add add_any and broadcast_in_dim ceil clamp concatenate convert_element_type copy "
    "cos div eq erf erf_inv exp exp2 expand_dims expm1 floor ge gt integer_pow iota is_finite "
    "le log log1p logistic lt max min mul ne neg not or pad pow reshape rev round rsqrt "
    "select_n sign sin slice sqrt square squeeze stop_gradient sub tanh transpose"
)
_CHEAP = frozenset(_CHEAP_NAMES.split())
_CALL_NAMES = (
    "checkpoint closed_call custom_jvp_call custom_vjp_call jit linear_with_transpose pjit remat"
)
_CALLS = frozenset(_CALL_NAMES.split())


def peak_bytes(jaxpr: core.Jaxpr) -> int:
    """Estimates the most bytes of intermediate values that a program holds at once.

    Values live from the operation that makes them to the last that reads them, in program order.
    Cheap operations (elementwise, layout) are stored where an expensive one reads them or where
    they are smaller than what they come from; else whoever reads them computes them again, as
    XLA's fusions do. Arguments and results are not counted.

    Args:
      jaxpr: of the loss and its gradient, on one device's part of the batch.
    """
    program = _Program(jaxpr)
    sources = _sources(program)

    last_use = {}
    for time, step in enumerate(program.steps):
        if step.outputs[0] not in sources:
            for value in step.inputs:
                last_use |= dict.fromkeys(sources.get(value, [value]), time)
    dying = collections.defaultdict(list)
    for value, time in last_use.items():
        dying[time].append(value)

    held, now, most = {}, 0, 0
    for time, step in enumerate(program.steps):
        if step.outputs[0] in sources:
            continue
        made = {v: program.size[v] for v in step.outputs if v in last_use}
        made = {v: n for v, n in made.items() if v not in program.results}
        held |= made
        now += sum(made.values())
        most = max(most, now + step.inside)
        now -= sum(held.pop(value, 0) for value in dying[time])
    return most


class _Step:
    """One operation: numbers of the values it reads and makes, and the bytes it needs inside."""

    def __init__(self, name: str, inputs: list[int], outputs: list[int], inside: int):
        self.cheap, self.reduction = name in _CHEAP, name.startswith("reduce")
        self.inputs, self.outputs, self.inside = inputs, outputs, inside


class _Program:
    """A jaxpr with its calls written out, and without what nobody reads."""

    def __init__(self, jaxpr: core.Jaxpr):
        self.steps: list[_Step] = []
        self.size: dict[int, int] = {}
        values = {v: self._new(0) for v in (*jaxpr.invars, *jaxpr.constvars)}
        self._add(jaxpr, values)
        found = [values.get(v) for v in jaxpr.outvars if not isinstance(v, core.Literal)]
        self.results = set(found)
        needed, steps = set(found), []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
                steps.append(step)
        self.steps = steps[::-1]

    def _new(self, size: int) -> int:
        self.size[len(self.size)] = size
        return len(self.size) - 1

    def _add(self, jaxpr: core.Jaxpr, values: dict[Any, int | None]) -> None:
        def read(variables):
            return [None if isinstance(v, core.Literal) else values.get(v) for v in variables]

        for eqn in jaxpr.eqns:
            inner, arguments = list(_inner(eqn.params)), eqn.invars
            if eqn.params.get("branches_platforms"):
                # Formulations by platform, in `common.kernels`; the last is that of most.
                inner, arguments = inner[-1:], arguments[1:]
            elif eqn.primitive.name not in _CALLS:
                arguments = None
            if inner and arguments is not None:
                known = dict(zip(inner[0].invars, read(arguments), strict=True))
                self._add(inner[0], known)
                for mine, theirs in zip(eqn.outvars, inner[0].outvars, strict=True):
                    literal = isinstance(theirs, core.Literal)
                    values[mine] = None if literal else known.get(theirs)
                continue
            outputs = [self._new(_aval_bytes(v.aval)) for v in eqn.outvars]
            values |= dict(zip(eqn.outvars, outputs, strict=True))
            inputs = [v for v in read(eqn.invars) if v is not None]
            inside = max((peak_bytes(j) for j in inner), default=0)
            if outputs:
                self.steps.append(_Step(eqn.primitive.name, inputs, outputs, inside))


def _sources(program: _Program) -> dict[int, frozenset[int]]:
    """For each value that is not stored: the stored ones that it is computed from."""
    operands = set(program.results)
    for step in program.steps:
        if not (step.cheap or step.reduction):
            operands.update(step.inputs)
    sources = {}
    for step in program.steps:
        value = step.outputs[0]
        if step.cheap and value not in operands:
            found = frozenset().union(*(sources.get(v, frozenset([v])) for v in step.inputs))
            # Statistics and biases beside one map are nothing; a sum of two maps is stored.
            if sum(program.size[v] for v in found) <= 1.1 * program.size[value]:
                sources[value] = found
    return sources


def _inner(params: Mapping[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item


def _aval_bytes(aval: Any) -> int:
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 0)
    return math.prod(getattr(aval, "shape", ())) * itemsize
