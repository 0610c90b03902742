"""What recipes of models on a backbone share, whatever the head finds."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

import maxvit_jax
from common.task import Task
from configs.base.complete import complete
from maxvit_jax.data_defaults import data_defaults
from maxvit_jax.models.dense import dense_fields

# A MOAT that minutes on a CPU are enough for.
SMALL_MOAT = {
    "stem_widths": (16, 16),
    "widths": (24, 48, 96, 128),
    "depths": (1, 1, 2, 1),
    "drop_path_rate": 0.0,
    "norm_momentum": 0.9,  # a short run
}
SMALLER_MOAT = SMALL_MOAT | {
    "stem_widths": (8, 16),
    "widths": (16, 32, 48, 64),
    "depths": (1, 1, 1, 1),
    "head_dim": 16,
}


def backbone_section(backbone: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the section of the backbone's fields.

    Args:
      backbone: any of `maxvit_jax.list_models()`.
      given: fields that differ from the variant's.
    """
    model = maxvit_jax.create_model(backbone)
    section = {"drop_path_rate": model.drop_path_rate, **dense_fields(backbone)}
    if not model.pad_inputs:  # a field then
        section["pad_inputs"] = True
    return section | dict(given or {})


def defaults(part: type, without: Collection[str]) -> dict[str, Any]:
    """Returns the defaults of a module's fields, but for some."""
    fields = dataclasses.fields(part)
    return {field.name: field.default for field in fields if field.name not in without}


def short_run(
    config: ConfigDict,
    task: type[Task],
    *,
    steps: int,
    smoke: bool,
    learning_rate: float,
    ema_decay: float,
    clip_norm: float = 1.0,
    b2: float = 0.999,
    kind: str = "adamw",
) -> ConfigDict:
    """Completes a recipe [ours] of minutes on a CPU; `smoke` stops after six steps."""
    steps = 6 if smoke else steps
    config.optimizer = {
        "kind": kind,
        "learning_rate": learning_rate,
        "b2": b2,
        "weight_decay": 0.05,
        "clip_norm": clip_norm,
        "ema_decay": ema_decay,
    }
    config.schedule = {"warmup_steps": steps // 10, "decay_steps": steps}
    return _lasting(config, task, steps, steps if smoke else steps // 2, 2 if smoke else 50)


def own_photos(
    config: ConfigDict,
    task: type[Task],
    *,
    backbone: str,
    size: int,
    steps: int,
    pretrained: bool,
    clip_norm: float = 1.0,
    slower: str = "^backbone/",
) -> ConfigDict:
    """Completes a recipe [ours] for one's own photos.

    Args:
      config: with a model, and what is special about the data.
      task: the job.
      backbone: whose published preparation photos get.
      size: side in pixels.
      steps: of training.
      pretrained: there are weights to start from; the backbone learns at a tenth of the rate.
      clip_norm: of the gradient.
      slower: pattern of the backbone's parameters.
    """
    prepared = data_defaults(backbone)
    config.init = {"weights": ""} if pretrained else {}
    config.data.update(
        {
            "root": "",
            "holdout": 0.1,
            "image_size": size,
            "mean": prepared.mean,
            "std": prepared.std,
            "batch_size": 8,
        }
    )
    groups = ({"pattern": slower, "learning_rate_factor": 0.1},)
    config.optimizer = {
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "clip_norm": clip_norm,
        "ema_decay": 0.99,
        "groups": groups if pretrained else (),
    }
    config.schedule = {"warmup_steps": steps // 10, "decay_steps": steps}
    return _lasting(config, task, steps, max(steps // 10, 1), 20)


def published(
    config: ConfigDict, task: type[Task], *, steps: int, every: int, smoke: bool
) -> ConfigDict:
    """Completes a published recipe: `steps` of training, or three small ones."""
    if smoke:
        steps = every = 3
        config.data.update({"batch_size": 2, "image_size": 64, "num_workers": 0})
        config.schedule.update({"warmup_steps": 0, "decay_steps": steps})
        config.init = {}
    return _lasting(config, task, steps, every, 1 if smoke else 50)


def _lasting(
    config: ConfigDict, task: type[Task], steps: int, every: int, log_every: int
) -> ConfigDict:
    config.train = {"num_steps": steps, "log_every": log_every}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, task)
