"""AdamW and LAMB with gradient clipping and a decay mask: a pattern over parameter paths."""

import dataclasses
import re
from typing import Any, Literal

import jax
import optax

from common.config import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The config's `optimizer` section.

    Attributes:
      kind: `"adamw"` or `"lamb"` (arXiv:1904.00962).
      learning_rate: peak of the schedule.
      b1: decay of the first moment.
      b2: decay of the second moment.
      mu_dtype: of the stored first moment; `"bfloat16"` saves two bytes per parameter.
      eps: added to the root of the second moment.
      weight_decay: decoupled; multiplied by the learning rate.
      no_decay: regular expression; parameters whose path contains a match are not decayed.
      clip_norm: global gradient norm above which gradients are scaled down; None: never.
      ema_decay: exponential moving average of weights and batch statistics, used for evaluation;
        warmed up as `min(ema_decay, (1 + step) / (10 + step))`, as TensorFlow's. None: off.
    """

    kind: Literal["adamw", "lamb"] = "adamw"
    learning_rate: float
    b1: float = 0.9
    b2: float = 0.999
    mu_dtype: Literal["float32", "bfloat16"] = "float32"
    eps: float = 1e-8
    weight_decay: float = 0.0
    no_decay: str = "bias|scale"
    clip_norm: float | None = None
    ema_decay: float | None = None

    def __post_init__(self):
        require(self.learning_rate > 0, "config.optimizer.learning_rate must be positive")
        require(self.weight_decay >= 0, "config.optimizer.weight_decay must not be negative")
        clips = self.clip_norm is None or self.clip_norm > 0
        require(clips, "config.optimizer.clip_norm must be positive, or None for no clipping")
        for name in ("b1", "b2", "ema_decay"):
            in_range = getattr(self, name) is None or 0 <= getattr(self, name) < 1
            require(in_range, f"config.optimizer.{name} must be in [0, 1)")
        try:
            re.compile(self.no_decay)
        except re.error as error:
            require(False, f"config.optimizer.no_decay={self.no_decay!r} is no pattern: {error}")


def decay_mask(params: Any, no_decay: str) -> Any:
    """Returns a tree of booleans: True where weight decay applies."""
    pattern = re.compile(no_decay)

    def decays(path: tuple, _: Any) -> bool:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return not (no_decay and pattern.search(name))

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns clipping followed by AdamW or LAMB on the given schedule.

    LAMB scales every array's step by the ratio of the array's norm to the step's; arrays without
    decay are left out of that, as in Apex and timm, and take Adam's step.
    """

    def mask(params: Any) -> Any:
        return decay_mask(params, config.no_decay)

    if config.kind == "adamw":
        optimizer = optax.adamw(
            schedule,
            config.b1,
            config.b2,
            config.eps,
            mu_dtype=config.mu_dtype,
            weight_decay=config.weight_decay,
            mask=mask,
        )
    else:
        optimizer = optax.chain(
            optax.scale_by_adam(config.b1, config.b2, config.eps, mu_dtype=config.mu_dtype),
            optax.add_decayed_weights(config.weight_decay, mask),
            optax.masked(optax.scale_by_trust_ratio(), mask),
            optax.scale_by_learning_rate(schedule),
        )
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
