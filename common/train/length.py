"""How long a run is: given in steps, or in epochs, which become steps once the data is known."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from common.config import parse_section
from common.train.checkpoint import CheckpointConfig
from common.train.run_directory import checkpoint_steps, read_config
from common.train.schedule import ScheduleConfig
from common.train.sections import EvalConfig, TrainConfig

_LEAST_EVALUATIONS = 10  # of a run in epochs, and checkpoints


def in_steps(
    config: Mapping[str, Any], *, examples: int, batch_size: int, workdir: str
) -> dict[str, Any]:
    """Returns a config in which `train.num_steps` is what `train.num_epochs` says, if that is set.

    The schedule is stretched with it, as its steps are of the `num_steps` that the config came
    with; evaluations and checkpoints become no rarer than ten in the run. A run that goes on with
    the same epochs keeps its steps, even if its data has grown.

    Args:
      config: the whole config as plain JSON values.
      examples: to train on.
      batch_size: of a step.
      workdir: the run directory, which may hold the run already.

    Raises:
      UserError: a section that doesn't hold together, or a directory that is damaged.
    """
    sections = {name: config.get(name, {}) for name in ("train", "schedule", "eval", "checkpoint")}
    train = parse_section(TrainConfig, sections["train"], "train")
    if train.num_epochs is None:
        return dict(config)
    stored = read_config(workdir)["train"] if checkpoint_steps(workdir) else {}
    if stored.get("num_epochs") == train.num_epochs:
        steps = stored["num_steps"]
    else:
        steps = max(math.ceil(train.num_epochs * examples / batch_size), 1)
    changes = {
        "train": {"num_steps": steps},
        "schedule": _stretched(sections["schedule"], steps / train.num_steps),
    }
    for name, section in (("eval", EvalConfig), ("checkpoint", CheckpointConfig)):
        every = sections[name].get("every_steps", section.every_steps)
        changes[name] = {"every_steps": min(every, max(steps // _LEAST_EVALUATIONS, 1))}
    return {**config, **{name: {**sections[name], **fields} for name, fields in changes.items()}}


def _stretched(section: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Those fields of a schedule that count steps, for a run so many times as long."""
    given = parse_section(ScheduleConfig, section, "schedule")
    warmup = round(given.warmup_steps * factor)
    milestones = [max(round(step * factor), warmup + 1) for step in given.milestones]
    return {
        "warmup_steps": warmup,
        "decay_steps": max(round(given.decay_steps * factor), warmup + 1),
        # Of a very short run some might fall together.
        "milestones": list(itertools.accumulate(milestones, lambda a, b: max(a + 1, b))),
    }
