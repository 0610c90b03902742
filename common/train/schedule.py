"""Learning-rate schedules."""

import dataclasses
from typing import Literal

import optax

from common.config import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The config's `schedule` section.

    Attributes:
      kind: `"cosine"` decay from the peak to `end_value`, or `"constant"` at the peak.
      warmup_steps: linear from zero to the peak.
      decay_steps: step at which the cosine reaches `end_value`, warm-up included. The schedule has
        its own horizon, so that a run can be prolonged without bending the part already run.
      end_value: learning rate after the decay.
    """

    kind: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 0
    decay_steps: int = 0
    end_value: float = 0.0

    def __post_init__(self):
        require(self.warmup_steps >= 0, "config.schedule.warmup_steps must not be negative")
        require(
            self.kind != "cosine" or self.decay_steps > self.warmup_steps,
            f"config.schedule.decay_steps={self.decay_steps} must exceed"
            f" warmup_steps={self.warmup_steps}: it includes them",
        )


def make_schedule(config: ScheduleConfig, peak: float) -> optax.Schedule:
    """Returns the learning rate as a function of the optimizer step, `peak` at its highest."""
    if config.kind == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup_steps else peak,
            peak,
            config.warmup_steps,
            config.decay_steps,
            config.end_value,
        )
    if not config.warmup_steps:
        return optax.constant_schedule(peak)
    warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
    return optax.join_schedules([warmup, optax.constant_schedule(peak)], [config.warmup_steps])
