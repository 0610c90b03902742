"""Learning-rate schedules."""

import dataclasses
from typing import Literal

import optax
from jax import Array
from jax.typing import ArrayLike

from common.config import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The config's `schedule` section.

    Attributes:
      kind: `"cosine"` decay from the peak to `end_value`, or `"constant"` at the peak.
      init_value: learning rate at the first step of the warm-up.
      warmup_steps: linear from `init_value` to the peak.
      decay_from: where the cosine begins: `"peak"`, at the end of the warm-up, or `"start"`, with
        the run, so that the warm-up hides its first part (timm's default).
      decay_steps: step at which the cosine reaches `end_value`, warm-up included. The schedule has
        its own horizon, so that a run can be prolonged without bending the part already run.
      end_value: learning rate after the decay.
    """

    kind: Literal["cosine", "constant"] = "cosine"
    init_value: float = 0.0
    warmup_steps: int = 0
    decay_from: Literal["peak", "start"] = "peak"
    decay_steps: int = 0
    end_value: float = 0.0

    def __post_init__(self):
        for name in ("init_value", "warmup_steps", "end_value"):
            value = getattr(self, name)
            require(value >= 0, f"config.schedule.{name} must not be negative")
        require(
            self.kind != "cosine" or self.decay_steps > self.warmup_steps,
            f"config.schedule.decay_steps={self.decay_steps} must exceed"
            f" warmup_steps={self.warmup_steps}: it includes them",
        )


def make_schedule(config: ScheduleConfig, peak: float) -> optax.Schedule:
    """Returns the learning rate as a function of the optimizer step, `peak` at its highest."""
    warmup = config.warmup_steps
    if config.kind == "cosine":
        hidden = warmup if config.decay_from == "start" else 0
        steps = config.decay_steps - warmup + hidden
        cosine = optax.cosine_decay_schedule(peak, steps, config.end_value / peak)

        def after_warmup(step: ArrayLike) -> Array:
            return cosine(step + hidden)
    else:
        after_warmup = optax.constant_schedule(peak)
    if not warmup:
        return after_warmup
    rise = optax.linear_schedule(config.init_value, peak, warmup)
    return optax.join_schedules([rise, after_warmup], [warmup])
