"""The largest batch per device that fits, found in few compilations: each one takes minutes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from common.config import require
from common.news import say
from launch.planned_step import PlannedStep, planned_step
from launch.tpu_program import DoesNotFit, TpuProgram, compile_for, program_lines
from launch.tpu_topology import Topology

Needed = Callable[[int], float]


def fitted(config: Mapping[str, Any], pod: Topology, *, per_example: float) -> Iterator[str]:
    """Yields the largest batch that fits and what its program needs; what is tried is printed.

    Where the state and one example per device are too large for the config's mesh, the smallest
    `config.mesh.fsdp` is taken with which they aren't.

    Args:
      config: the whole config.
      pod: to fit into.
      per_example: estimated bytes of activations per example.

    Raises:
      UserError: nothing fits.
    """
    room = pod.chip.usable_gib * 2**30
    mesh, held = _smallest_mesh(config, pod, room - per_example)
    programs: dict[int, TpuProgram] = {}

    def needed(size: int) -> float:
        step = _step(config, pod, mesh, size)
        try:
            programs[size] = compile_for(step, pod)
        except DoesNotFit as error:
            # An unknown need is taken for twice the room: the next try is half as large.
            found = max(error.needed or 2 * room, 1.001 * room)
        else:
            found = programs[size].needed
        verdict = "fits" if size in programs else "is too large"
        say(f"tried {size} per device: {found / 2**30:.2f} GiB, {verdict}")
        return found

    size = largest_batch(needed, fixed=held, per_example=per_example, room=room)
    hint = "more chips, config.model.remat=true, config.model.dtype=bfloat16 or smaller images"
    require(size > 0, f"--fit: not even one example per device fits {pod.name}; try {hint}")
    step = _step(config, pod, mesh, size)
    yield from program_lines(programs[size], pod, step.accumulate_steps)
    yield ""
    yield (
        f"largest batch, {size} per device: --config.data.batch_size={step.batch_size}"
        f" --config.mesh.fsdp={mesh['fsdp']}"
        f" --config.train.accumulate_steps={step.accumulate_steps}"
    )
    wanted, parts = config["data"]["batch_size"], step.parts
    for steps in range(1, wanted // parts + 1):
        if wanted % (parts * steps) == 0 and wanted // (parts * steps) <= size:
            yield (
                f"the recipe's batch of {wanted} fits with --config.mesh.fsdp={mesh['fsdp']}"
                f" --config.train.accumulate_steps={steps}"
            )
            break


def _smallest_mesh(
    config: Mapping[str, Any], pod: Topology, room: float
) -> tuple[dict[str, int], int]:
    """The mesh with the config's fsdp, or the smallest multiple, whose state leaves room, and the
    state's bytes."""
    mesh = {**config["mesh"], "data": -1}
    while True:
        step = _step(config, pod, mesh, 1)
        held = step.held_bytes()
        state = sum(held.values()) - held["batch"]
        if state <= room:
            return mesh, state
        wider = {**mesh, "fsdp": 2 * mesh["fsdp"]}
        require(
            len(pod.devices) % (wider["fsdp"] * mesh["tensor"]) == 0,
            f"--fit: state and gradients take {state / 2**30:.1f} GiB per device with"
            f" config.mesh.fsdp={mesh['fsdp']}, and one example some"
            f" {pod.chip.usable_gib - room / 2**30:.1f} GiB more, where a program of {pod.name} may"
            f" have {pod.chip.usable_gib} GiB: take more chips",
        )
        say(f"config.mesh.fsdp={mesh['fsdp']}: the state is too large, trying {wider['fsdp']}")
        mesh = wider


def _step(
    config: Mapping[str, Any], pod: Topology, mesh: Mapping[str, int], per_device: int
) -> PlannedStep:
    parts = len(pod.devices) // mesh["tensor"]
    size = per_device * parts * config["train"]["accumulate_steps"]
    changed = {**config, "mesh": mesh, "data": {**config["data"], "batch_size": size}}
    return planned_step(changed, pod.devices)


def candidates(most: int) -> list[int]:
    """The batches per device that are tried: powers of two, and three times those.

    Args:
      most: the largest.
    """
    sizes = {f << i for f in (1, 3) for i in range(most.bit_length() + 1)}
    return sorted(size for size in sizes if size <= most)


def largest_batch(needed: Needed, *, fixed: float, per_example: float, room: float) -> int:
    """Returns the largest candidate that needs no more than there is; 0 if not even 1 fits.

    The first is what an estimate says. The next ones are chosen by the line through the two sizes
    that were tried last, so that it takes two or three of them.

    Args:
      needed: gives the bytes that a batch per device needs, more than `room` when it doesn't fit.
      fixed: bytes that do not grow with the batch.
      per_example: estimated bytes per example of the batch.
      room: bytes that there are.
    """
    sizes = candidates(4096)
    fits, too_large = 0, sizes[-1] + 1
    size, found = 0, fixed
    while True:
        between = [n for n in sizes if fits < n < too_large]
        under = [n for n in between if found + per_example * (n - size) <= room]
        if not between or (fits and not under):
            return fits  # nothing is left, or all that is left needs more by the line
        last, size = (size, found), under[-1] if under else between[0]
        found = needed(size)
        per_example = max((found - last[1]) / (size - last[0]), 1.0)
        if found <= room:
            fits = size
        else:
            too_large = size
