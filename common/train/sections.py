"""The sections of a config that the trainer reads, whatever the task."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from common.config import parse_section, require
from common.errors import did_you_mean
from common.train.checkpoint import CheckpointConfig
from common.train.optimizer import OptimizerConfig
from common.train.schedule import ScheduleConfig
from common.train.sharding import MeshConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The config's `train` section.

    Attributes:
      num_steps: optimizer steps of the run.
      num_epochs: passes over the training examples instead; `num_steps` is then what the schedule
        was written for, which is stretched to the run (`common/train/length.py`).
      log_every: steps between metrics.
      accumulate_steps: parts a batch is cut into, run one after the other, to save memory.
      not_finite: what to do when the loss or a gradient is NaN or infinite: `"stop"`; `"skip"` the
        update of that step, but stop after 50 in a row; `"restore"` the last checkpoint and try
        once more, which helps where hardware was at fault.
      sample_images: save pictures of the first training batch and of each evaluation.
      profile: first and last step of a trace for TensorBoard's profiler, which goes to `profile` in
        the run directory; empty: none. Leave out the first steps of a start, which compile.
      final_report: evaluate the best checkpoint once more when the run is over, and write the
        report of `launch.evaluate`; in runs of one process.
    """

    num_steps: int
    num_epochs: float | None = None
    log_every: int = 100
    accumulate_steps: int = 1
    not_finite: Literal["stop", "skip", "restore"] = "stop"
    sample_images: bool = True
    profile: tuple[int, ...] = ()
    final_report: bool = False

    def __post_init__(self):
        for name in ("num_steps", "log_every", "accumulate_steps"):
            require(getattr(self, name) > 0, f"config.train.{name} must be positive")
        require(self.num_steps < 2**31, f"config.train.num_steps: less than {2**31:,}")
        some = self.num_epochs is None or 0 < self.num_epochs < math.inf
        require(some, "config.train.num_epochs must be positive and finite")
        ordered = not self.profile or (len(self.profile) == 2 and self.profile[0] > 0)
        require(
            ordered and list(self.profile) == sorted(self.profile),
            f"config.train.profile={self.profile}: first and last step, such as (20, 25)",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The config's `eval` section.

    Attributes:
      every_steps: steps between evaluations; the last step is always evaluated.
      best_metric: what picks the best checkpoint, such as `eval/accuracy_top1`; larger is better,
        with a minus before it (`-eval/loss`) smaller is. None: the task's own.
      patience: the run ends early after so many evaluations in a row that were no better than the
        best one before. None: it never does.
    """

    every_steps: int = 1000
    best_metric: str | None = None
    patience: int | None = None

    def __post_init__(self):
        require(self.every_steps > 0, "config.eval.every_steps must be positive")
        patient = self.patience is None or self.patience > 0
        require(patient, "config.eval.patience must be positive, or None to never stop early")


# Sections of a config that the trainer reads, and those that the task does.
TRAINER_SECTIONS = {
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "mesh": MeshConfig,
    "checkpoint": CheckpointConfig,
}
TASK_SECTIONS = ("init", "model", "task", "data")


def parse_trainer_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the trainer's sections of a config, and that there are no unknown ones.

    Returns:
      The frozen section of each name in `TRAINER_SECTIONS`.

    Raises:
      UserError: an unknown section or field, or a value out of range.
    """
    known = {*TRAINER_SECTIONS, *TASK_SECTIONS, "seed"}
    for name in config:
        require(name in known, f"config.{name}: unknown section, {did_you_mean(name, known)}")
    seed = config.get("seed")
    fits = type(seed) is int and 0 <= seed < 2**32
    require(fits, f"config.seed must be an integer, 0 or more and less than {2**32:,}")
    return {
        name: parse_section(cls, config.get(name, {}), name)
        for name, cls in TRAINER_SECTIONS.items()
    }
