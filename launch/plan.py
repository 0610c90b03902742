"""Plans a run without its hardware and data: memory per device, FLOPs, where parameters live.

    python -m launch.plan --config=configs/maxvit_xlarge.py --devices=64 --config.mesh.fsdp=8
    python -m launch.plan --config=configs/maxvit_tiny.py --topology=v5e:4x4 --fit

State and batch are counted exactly, from their shardings on simulated devices. Activations are
estimated from the traced program, see `launch/memory.py`. `--compile` also compiles the
training step for the simulated devices, which takes minutes for large models, and prints what XLA's
CPU compiler needs and which collectives it inserted. `--topology` compiles it for TPUs, with the
compiler that they have; `--fit` finds the largest batch that goes into their memory.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from absl import flags
from jax import Array
from jax.sharding import Mesh
from ml_collections import config_flags

from common.config import require
from common.news import announced
from common.task import Batch, Task
from common.train import sharding
from common.train.collectives import collectives, in_words
from launch.fit import fitted
from launch.main import load_config, run_main
from launch.memory import peak_bytes
from launch.planned_step import PlannedStep, planned_step
from launch.tpu_program import compile_for, program_lines
from launch.tpu_topology import Topology, topology

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with `:k=v,k=v` arguments.")
_DEVICES = flags.DEFINE_integer("devices", None, "Accelerators to plan for; 8.", lower_bound=1)
_TOPOLOGY = flags.DEFINE_string("topology", None, "TPUs to compile for, such as v5e:4x4.")
_FIT = flags.DEFINE_bool("fit", False, "Find the largest batch for the TPUs, or a mesh.")
_MEMORY_GB = flags.DEFINE_float("memory_gb", None, "Warn above so many GiB per device.")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile the step: temporaries and collectives.")

# The program is looked at, not run.
_FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def main(argv: list[str]) -> None:
    """Prints the plan of what the flags say."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    pod = None
    if _TOPOLOGY.value is None:
        require(not _FIT.value, "--fit needs --topology, whose memory is to be filled")
        jax.config.update("jax_num_cpu_devices", _DEVICES.value or 8)
    else:
        alone = _DEVICES.value is None and not _COMPILE.value
        require(
            alone, "--topology says the devices and compiles: leave out --devices and --compile"
        )
        pod = topology(_TOPOLOGY.value)
    config = load_config(_CONFIG).to_dict()
    memory_gb, options = _MEMORY_GB.value, {"compiled": _COMPILE.value, "fit": _FIT.value}
    for line in plan(config, memory_gb=memory_gb, pod=pod, **options):
        print(line, flush=True)


def plan(
    config: Mapping[str, Any],
    *,
    memory_gb: float | None = None,
    compiled: bool = False,
    pod: Topology | None = None,
    fit: bool = False,
) -> Iterator[str]:
    """Yields the lines of the plan for all devices of this process, which are simulated ones.

    Args:
      config: the whole config.
      memory_gb: GiB per device above which the last line is a warning.
      compiled: compile the step.
      pod: TPUs to plan and compile for, in place of this process's devices.
      fit: find the largest batch per device of `pod`.

    Raises:
      UserError: a config that doesn't hold together, or whose classes follow data that isn't here;
        or it doesn't fit into the memory of `pod`.
    """
    step = planned_step(config, pod and pod.devices)
    count = sum(x.size for x in jax.tree.leaves(step.state.params))
    yield (
        f"{config['model']['name']}: {count:,} parameters; mesh {dict(step.mesh.shape)}; batch of"
        f" {step.batch_size}: {step.per_device} per device, {step.accumulate_steps} time(s) a step"
    )
    yield from ["", *sharding.overview(step.state.params, step.mesh).splitlines(), ""]

    part = step.task.abstract_batch(step.per_device)
    with announced("tracing the training step", "traced"):
        gradient = jax.jit(partial(_gradient, step.task, step.hold)).trace(
            step.state.variables, part, jax.random.key(0)
        )
    local = step.held_bytes()
    held = sum(local.values())
    activations = peak_bytes(gradient.jaxpr.jaxpr)
    yield f"{'memory':<22} {'GiB per device':>14}"
    for name, value in local.items():
        yield f"{name:<22} {value / 2**30:14.4f}  exact"
    yield f"{'activations':<22} {activations / 2**30:14.4f}  estimate, see docs/scaling.md"
    yield f"{'together':<22} {(held + activations) / 2**30:14.4f}"

    flops = gradient.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]
    flops *= step.parts * step.accumulate_steps
    yield ""
    yield (
        f"{flops:.4g} FLOPs per step, {flops / step.mesh.size:.4g} per device: loss and gradient,"
        " two per multiply-add, as XLA counts them before it optimizes"
    )
    if compiled:
        yield from _compiled_lines(step)
    if pod is not None:
        yield ""
        if fit:
            yield from fitted(config, pod, per_example=activations / step.per_device)
        else:
            yield from program_lines(compile_for(step, pod), pod, step.accumulate_steps)
    if memory_gb is not None and (held + activations) / 2**30 > memory_gb:
        yield _warning(config, step.mesh, held, activations, memory_gb)


def _gradient(
    task: Task, hold: Callable, variables: Mapping[str, Any], batch: Batch, rng: Array
) -> Any:
    def loss(params):
        given = {**batch, "step": np.int32(0)}
        return task.loss({**variables, "params": hold(params)}, given, rng)

    return jax.grad(loss, has_aux=True)(variables["params"])


def _compiled_lines(step: PlannedStep) -> Iterator[str]:
    with announced("compiling the training step", "compiled"):
        program = step.compile(_FAST_COMPILE)
    temporary = program.memory_analysis().temp_size_in_bytes
    yield f"compiled for the CPU: {temporary / 2**30:.4f} GiB of temporaries per device"
    yield f"collectives in the program: {in_words(collectives(program.as_text()))}"


def _warning(
    config: Mapping[str, Any], mesh: Mesh, held: int, activations: int, memory_gb: float
) -> str:
    """One line: by how much it is too large, and the fields that make it smaller."""
    model, advice = config["model"], []
    if held > activations and mesh.shape["fsdp"] < mesh.shape["data"] * mesh.shape["fsdp"]:
        advice.append("a larger config.mesh.fsdp")
    if activations > held / 4:
        advice.append("a larger config.train.accumulate_steps")
        if "remat" in model and not model["remat"]:
            advice.append("config.model.remat=true")
        if model.get("dtype") == "float32":
            advice.append("config.model.dtype=bfloat16")
    advice.append("more --devices")
    total = (held + activations) / 2**30
    return f"warning: {total:.1f} GiB exceed --memory_gb={memory_gb:g}: try {', '.join(advice)}"


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    run_main(main)
