"""A training step compiled for TPU chips: what it needs of one, and the least time it takes."""

import dataclasses
import re
import time
from collections.abc import Iterator
from typing import Any

import jax

from common.errors import TooLarge
from common.news import announced
from common.train.collectives import Collectives, collectives, in_words
from launch.planned_step import PlannedStep
from launch.tpu_topology import Chip, Topology

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# "Used 20.50G of 15.75G hbm", or "temporaries (2.00T) exceeds available HBM (15.75G)".
_TOO_LARGE = (
    re.compile(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm"),
    re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM"),
)


class DoesNotFit(TooLarge):
    """The compiler refused a program that needs more memory than a chip has.

    Attributes:
      needed: bytes per device that the compiler says it needs; None if it doesn't say.
    """

    def __init__(self, message: str, needed: int | None):
        super().__init__(message)
        self.needed = needed


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpuProgram:
    """What XLA says of a compiled step, per device. Bytes, FLOPs, seconds.

    Attributes:
      arguments: state and batch.
      output: state and metrics.
      shared: the part of the output that takes the place of arguments.
      temporaries: everything else that the step holds at its peak.
      code: the program itself.
      bytes: moved to and from HBM, as XLA estimates them.
      flops: two per multiply-add, as XLA counts them. A loop's body counts once, in both.
      collectives: by kind.
      seconds: that compiling took.
    """

    arguments: int
    output: int
    shared: int
    temporaries: int
    code: int
    bytes: float
    flops: float
    collectives: dict[str, Collectives]
    seconds: float

    @property
    def needed(self) -> int:
        """Bytes of HBM."""
        return self.arguments + self.output - self.shared + self.temporaries + self.code

    def floors(self, chip: Chip) -> tuple[float, float]:
        """Milliseconds that moving the bytes and doing the FLOPs take at the chip's peaks."""
        return self.bytes / chip.gb_per_s / 1e6, self.flops / chip.tflops / 1e9


def compile_for(step: PlannedStep, pod: Topology) -> TpuProgram:
    """Compiles a step whose mesh is of a topology's devices.

    Args:
      step: to compile.
      pod: the topology.

    Raises:
      DoesNotFit: a chip's memory is too small.
    """
    start = time.monotonic()
    doing = f"compiling for {pod.name}, {step.per_device} per device"
    try:
        with announced(doing, "compiled"):
            program = step.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needed = needed_bytes(str(error))
        much = "more" if needed is None else f"{needed / 2**30:.2f} GiB per device, more"
        raise DoesNotFit(
            f"--topology={pod.name}: {step.per_device} examples per device need {much} than the"
            f" {pod.chip.usable_gib} GiB that a program may have; --fit finds what fits, and"
            " docs/scaling.md says what needs less",
            needed,
        ) from error
    return described(program, time.monotonic() - start)


def needed_bytes(message: str) -> int | None:
    """Returns the bytes that a refused program needs, read from XLA's message; None if it has none.

    Args:
      message: of the compiler's RESOURCE_EXHAUSTED.
    """
    for pattern in _TOO_LARGE:
        if found := pattern.search(message):
            return round(float(found[1]) * _UNITS[found[2]])
    return None


def described(program: jax.stages.Compiled, seconds: float) -> TpuProgram:
    """Returns what XLA says of a program that took so many seconds to compile."""
    memory, cost = program.memory_analysis(), program.cost_analysis()
    return TpuProgram(
        arguments=memory.argument_size_in_bytes,
        output=memory.output_size_in_bytes,
        shared=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        bytes=cost["bytes accessed"],
        flops=cost["flops"],
        collectives=collectives(program.as_text()),
        seconds=seconds,
    )


def program_lines(program: TpuProgram, pod: Topology, parts: int) -> Iterator[str]:
    """Yields what a user reads of a program.

    Args:
      program: of a step.
      pod: that it is for.
      parts: that the step's batch is cut into, one after the other.
    """
    chip = pod.chip
    by_bytes, by_flops = program.floors(chip)
    name = "a chip" if chip.per_chip == 1 else f"1/{chip.per_chip} of a chip"
    of = "step" if parts == 1 else f"step, of whose {parts} parts XLA counts one"
    yield (
        f"compiled for {pod.name} in {program.seconds:.0f} s; one of {len(pod.devices)}"
        f" devices is {name}: {chip.gib:g} GiB, {chip.gb_per_s:g} GB/s, {chip.tflops:g} TFLOP/s in"
        " bfloat16"
    )
    yield f"{'memory':<22} {'GiB per device':>14}"
    rows = {
        "arguments": program.arguments,
        "output beside them": program.output - program.shared,
        "temporaries": program.temporaries,
        "program": program.code,
        "together": program.needed,
    }
    for row, value in rows.items():
        yield f"{row:<22} {value / 2**30:14.4f}"
    yield f"{'a program may have':<22} {chip.usable_gib:14.4f}"
    yield f"{program.bytes / 1e9:.4g} GB moved per device and {of}: at least {by_bytes:.2f} ms"
    yield f"{program.flops / 1e9:.4g} GFLOP per device and {of}: at least {by_flops:.2f} ms"
    yield f"collectives: {in_words(program.collectives)}"


def as_json(program: TpuProgram) -> dict[str, Any]:
    """The fields by name; collectives as pairs of count and bytes."""
    return dataclasses.asdict(program)
