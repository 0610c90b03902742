"""Learning-rate schedules."""

import dataclasses
import itertools
from typing import Literal

import optax
from jax import Array
from jax.typing import ArrayLike

from common.config import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The config's `schedule` section.

    Attributes:
      kind: `"cosine"` or `"poly"` decay from the peak to `end_value`, `"step"` down at each of the
        `milestones`, or `"constant"` at the peak.
      init_value: learning rate at the first step of the warm-up (a warm-up ratio times the peak).
      warmup_steps: linear from `init_value` to the peak.
      decay_from: where `"cosine"` and `"poly"` begin: `"peak"`, at the end of the warm-up, or
        `"start"`, with the run, so that the warm-up hides the first part (timm's default).
      decay_steps: step at which they reach `end_value`, warm-up included. The schedule has its own
        horizon, so that a run can be prolonged without bending the part already run.
      end_value: learning rate after the decay.
      power: of `"poly"`: exponent of the share of steps that is left; 1 is a straight line.
      milestones: of `"step"`: steps of the run from which on the rate is multiplied by `gamma`.
      gamma: of `"step"`.
    """

    kind: Literal["cosine", "constant", "poly", "step"] = "cosine"
    init_value: float = 0.0
    warmup_steps: int = 0
    decay_from: Literal["peak", "start"] = "peak"
    decay_steps: int = 0
    end_value: float = 0.0
    power: float = 0.9
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1

    def __post_init__(self):
        for name in ("init_value", "warmup_steps", "end_value"):
            value = getattr(self, name)
            require(value >= 0, f"config.schedule.{name} must not be negative")
        for name in ("power", "gamma"):
            require(getattr(self, name) > 0, f"config.schedule.{name} must be positive")
        require(
            self.kind not in ("cosine", "poly") or self.decay_steps > self.warmup_steps,
            f"config.schedule.decay_steps={self.decay_steps} must exceed"
            f" warmup_steps={self.warmup_steps}: it includes them",
        )
        if self.kind == "step":
            where = f"config.schedule.milestones={self.milestones}"
            require(bool(self.milestones), f"{where}: kind 'step' needs one at least")
            rising = all(a < b for a, b in itertools.pairwise(self.milestones))
            require(rising, f"{where} must increase")
            require(
                self.milestones[0] > self.warmup_steps,
                f"{where} must exceed warmup_steps={self.warmup_steps}: they include them",
            )


def make_schedule(config: ScheduleConfig, peak: float) -> optax.Schedule:
    """Returns the learning rate as a function of the optimizer step, `peak` at its highest."""
    warmup = config.warmup_steps
    # Schedules that are joined count from the end of the warm-up.
    hidden = warmup if config.decay_from == "start" else 0
    steps = config.decay_steps - warmup + hidden
    if config.kind == "step":
        drops = {step - warmup: config.gamma for step in config.milestones}
        after_warmup = optax.piecewise_constant_schedule(peak, drops)
    elif config.kind == "constant":
        after_warmup = optax.constant_schedule(peak)
    else:
        if config.kind == "cosine":
            decay = optax.cosine_decay_schedule(peak, steps, config.end_value / peak)
        else:
            decay = optax.polynomial_schedule(peak, config.end_value, config.power, steps)

        def after_warmup(step: ArrayLike) -> Array:
            return decay(step + hidden)

    if not warmup:
        return after_warmup
    rise = optax.linear_schedule(config.init_value, peak, warmup)
    return optax.join_schedules([rise, after_warmup], [warmup])
