"""The training step of a config as shapes and shardings on a mesh: nothing is computed."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from common.errors import UserError
from common.task import Task
from common.train import sharding
from common.train.optimizer import hold_frozen, make_optimizer
from common.train.schedule import make_schedule
from common.train.sections import parse_trainer_sections
from common.train.state import TrainState, create_state, make_train_step
from launch.tasks import make_task

# What a plan calls the fields of the state.
_STATE = {
    "parameters": ["params"],
    "optimizer state": ["opt_state"],
    "moving average": ["ema"],
    "statistics, constants": ["batch_stats", "constants"],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What `launch.train` would compile.

    Attributes:
      task: that the config describes.
      mesh: that it runs on.
      sections: of the config, those of the trainer.
      optimizer: of the config.
      hold: stops the gradient of frozen parameters.
      state: shapes of the whole state.
      places: its shardings.
    """

    task: Task
    mesh: Mesh
    sections: Mapping[str, Any]
    optimizer: optax.GradientTransformation
    hold: Callable[[Any], Any]
    state: TrainState
    places: TrainState

    @property
    def accumulate_steps(self) -> int:
        """Parts that a step's batch is cut into, one after the other."""
        return self.sections["train"].accumulate_steps

    @property
    def batch_size(self) -> int:
        """Examples per step, on all devices."""
        return self.task.data.batch_size

    @property
    def parts(self) -> int:
        """How many devices hold different examples."""
        return math.prod(self.mesh.shape[axis] for axis in sharding.BATCH_AXES)

    @property
    def per_device(self) -> int:
        """Examples that a device computes at once."""
        return self.batch_size // self.parts // self.accumulate_steps

    def held_bytes(self) -> dict[str, int]:
        """Bytes per device of what shapes and shardings say: state, gradients and batch."""
        local = {
            name: sharding.bytes_per_device(
                [getattr(self.state, f) for f in fields], [getattr(self.places, f) for f in fields]
            )
            for name, fields in _STATE.items()
        }
        # A part's gradient, and with several parts their sum.
        local["gradients"] = local["parameters"] * (1 if self.accumulate_steps == 1 else 2)
        batch = jax.tree.leaves(self.task.abstract_batch(self.batch_size))
        local["batch"] = sum(x.size * x.dtype.itemsize for x in batch) // self.parts
        return local

    def compile(self, options: Mapping[str, Any] | None = None) -> jax.stages.Compiled:
        """Compiles the step for the mesh's devices, the state donated, as the trainer does.

        Args:
          options: of the compiler.
        """
        step = make_train_step(
            self.task,
            self.optimizer,
            seed=0,
            accumulate_steps=self.accumulate_steps,
            ema_decay=self.sections["optimizer"].ema_decay,
            ema_start=self.sections["optimizer"].ema_start,
            hold=self.hold,
            skip_not_finite=self.sections["train"].not_finite == "skip",
        )
        program = jax.jit(
            step,
            in_shardings=(self.places, sharding.batch_sharding(self.mesh)),
            out_shardings=(self.places, sharding.replicated(self.mesh)),
            donate_argnums=0,
        )
        lowered = program.lower(self.state, self.task.abstract_batch(self.batch_size))
        return lowered.compile(compiler_options=options)


def planned_step(config: Mapping[str, Any], devices: list[jax.Device] | None = None) -> PlannedStep:
    """Returns the step of a config on all devices of this process, or those given.

    Raises:
      UserError: a config that doesn't hold together, or whose classes follow data that isn't here.
    """
    sections = parse_trainer_sections(config)
    task = _make_task(config)
    mesh = sharding.make_mesh(sections["mesh"], devices)
    size, steps = task.data.batch_size, sections["train"].accumulate_steps
    sharding.check_batch_size(size, mesh, "config.data.batch_size", steps)
    schedule = make_schedule(sections["schedule"], sections["optimizer"].learning_rate)
    optimizer = make_optimizer(sections["optimizer"], schedule)
    ema = sections["optimizer"].ema_decay is not None
    create = partial(create_state, optimizer=optimizer, ema=ema)
    state = jax.eval_shape(lambda rng: create(task.init(rng)), jax.random.key(0))
    return PlannedStep(
        task=task,
        mesh=mesh,
        sections=sections,
        optimizer=optimizer,
        hold=partial(hold_frozen, config=sections["optimizer"]),
        state=state,
        places=sharding.tree_shardings(state, mesh),
    )


def _make_task(config: Mapping[str, Any]) -> Task:
    try:
        return make_task(config)
    except UserError as error:
        if config["model"].get("num_classes", 0) is not None:
            raise
        hint = "--config.model.num_classes=<n> plans without the data"
        raise UserError(f"{error}; {hint}") from error
