"""Plans a run without its hardware and data: memory per device, FLOPs, where parameters live.

    python -m launch.plan --config=configs/maxvit_xlarge.py --devices=64 --config.mesh.fsdp=8

State and batch are counted exactly, from their shardings on simulated devices. Activations are
estimated from the traced program, see `launch/memory.py`. `--compile` also compiles the
training step for the simulated devices, which takes minutes for large models, and prints what XLA's
CPU compiler needs and which collectives it inserted.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from absl import flags
from jax import Array
from jax.sharding import Mesh
from ml_collections import config_flags

from common.errors import UserError
from common.news import announced
from common.task import Batch, Task
from common.train import sharding
from common.train.optimizer import hold_frozen, make_optimizer
from common.train.schedule import make_schedule
from common.train.sections import parse_trainer_sections
from common.train.state import TrainState, create_state, make_train_step
from launch.main import load_config, run_main
from launch.memory import peak_bytes
from launch.tasks import make_task

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with `:k=v,k=v` arguments.")
_DEVICES = flags.DEFINE_integer("devices", 8, "Accelerators to plan for.", lower_bound=1)
_MEMORY_GB = flags.DEFINE_float("memory_gb", None, "Warn above so many GiB per device.")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile the step: temporaries and collectives.")

# The program is looked at, not run.
_FAST_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

# What the plan calls the fields of the state.
_STATE = {
    "parameters": ["params"],
    "optimizer state": ["opt_state"],
    "moving average": ["ema"],
    "statistics, constants": ["batch_stats", "constants"],
}


def main(argv: list[str]) -> None:
    """Prints the plan of what the flags say."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    config = load_config(_CONFIG).to_dict()
    lines = plan(config, memory_gb=_MEMORY_GB.value, compiled=_COMPILE.value)
    for line in lines:
        print(line, flush=True)


def plan(
    config: Mapping[str, Any],
    *,
    memory_gb: float | None = None,
    compiled: bool = False,
) -> Iterator[str]:
    """Yields the lines of the plan for all devices of this process, which are simulated ones.

    Args:
      config: the whole config.
      memory_gb: GiB per device above which the last line is a warning.
      compiled: compile the step.

    Raises:
      UserError: a config that doesn't hold together, or whose classes follow data that isn't here.
    """
    sections = parse_trainer_sections(config)
    task = _make_task(config)
    mesh = sharding.make_mesh(sections["mesh"])
    steps, size = sections["train"].accumulate_steps, task.data.batch_size
    sharding.check_batch_size(size, mesh, "config.data.batch_size", steps)
    parts = math.prod(mesh.shape[axis] for axis in sharding.BATCH_AXES)

    schedule = make_schedule(sections["schedule"], sections["optimizer"].learning_rate)
    optimizer = make_optimizer(sections["optimizer"], schedule)
    decay = sections["optimizer"].ema_decay
    create = partial(create_state, optimizer=optimizer, ema=decay is not None)
    state = jax.eval_shape(lambda rng: create(task.init(rng)), jax.random.key(0))
    count = sum(x.size for x in jax.tree.leaves(state.params))
    yield (
        f"{config['model']['name']}: {count:,} parameters; mesh {dict(mesh.shape)}; batch of"
        f" {size}: {size // parts // steps} per device, {steps} time(s) a step"
    )
    yield from ["", *sharding.overview(state.params, mesh).splitlines(), ""]

    hold = partial(hold_frozen, config=sections["optimizer"])
    part = task.abstract_batch(size // parts // steps)
    with announced("tracing the training step", "traced"):
        gradient = jax.jit(partial(_gradient, task, hold)).trace(
            state.variables, part, jax.random.key(0)
        )
    places = sharding.tree_shardings(state, mesh)
    local = {
        name: sharding.bytes_per_device(
            [getattr(state, f) for f in fields], [getattr(places, f) for f in fields]
        )
        for name, fields in _STATE.items()
    }
    # A part's gradient, and with several parts their sum.
    local["gradients"] = local["parameters"] * (1 if steps == 1 else 2)
    local["batch"] = _bytes(task.abstract_batch(size)) // parts
    held = sum(local.values())
    activations = peak_bytes(gradient.jaxpr.jaxpr)
    yield f"{'memory':<22} {'GiB per device':>14}"
    for name, value in local.items():
        yield f"{name:<22} {value / 2**30:14.4f}  exact"
    yield f"{'activations':<22} {activations / 2**30:14.4f}  estimate, see docs/scaling.md"
    yield f"{'together':<22} {(held + activations) / 2**30:14.4f}"

    flops = gradient.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"] * parts * steps
    yield ""
    yield (
        f"{flops:.4g} FLOPs per step, {flops / mesh.size:.4g} per device: loss and gradient, two"
        " per multiply-add, as XLA counts them before it optimizes"
    )
    if compiled:
        step = make_train_step(
            task, optimizer, seed=0, accumulate_steps=steps, ema_decay=decay, hold=hold
        )
        yield from _compiled_lines(step, state, places, task.abstract_batch(size), mesh)
    if memory_gb is not None and (held + activations) / 2**30 > memory_gb:
        yield _warning(config, mesh, held, activations, memory_gb)


def _make_task(config: Mapping[str, Any]) -> Task:
    try:
        return make_task(config)
    except UserError as error:
        if config["model"].get("num_classes", 0) is not None:
            raise
        hint = "--config.model.num_classes=<n> plans without the data"
        raise UserError(f"{error}; {hint}") from error


def _gradient(
    task: Task, hold: Callable, variables: Mapping[str, Any], batch: Batch, rng: Array
) -> Any:
    def loss(params):
        given = {**batch, "step": np.int32(0)}
        return task.loss({**variables, "params": hold(params)}, given, rng)

    return jax.grad(loss, has_aux=True)(variables["params"])


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _compiled_lines(
    step: Callable, state: TrainState, places: TrainState, batch: Batch, mesh: Mesh
) -> Iterator[str]:
    program = jax.jit(
        step,
        in_shardings=(places, sharding.batch_sharding(mesh)),
        out_shardings=(places, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    with announced("compiling the training step", "compiled"):
        program = program.lower(state, batch).compile(compiler_options=_FAST_COMPILE)
    temporary = program.memory_analysis().temp_size_in_bytes
    yield f"compiled for the CPU: {temporary / 2**30:.4f} GiB of temporaries per device"
    found = sharding.count_collectives(program.as_text())
    listed = ", ".join(f"{n} {name}" for name, n in found.items() if n)
    yield f"collectives in the program: {listed or 'none'}"


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
