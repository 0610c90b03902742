"""Resolves a config to its task: the only place that knows them all."""

from collections.abc import Mapping
from typing import Any

import maxim_jax
import maxvit_jax
from common.config import require
from common.errors import UserError, did_you_mean
from common.task import Task
from maxim_jax.tasks.restoration import RestorationTask
from maxvit_jax.tasks.classification import ClassificationTask

_TASKS = {maxvit_jax: ClassificationTask, maxim_jax: RestorationTask}


def make_task(config: Mapping[str, Any]) -> Task:
    """Returns the task that a config describes; `config.model.name` decides which.

    Raises:
      UserError: an unknown model, a section that doesn't hold together, or data that isn't there.
    """
    require("name" in config.get("model", {}), "config.model.name is missing")
    name = config["model"]["name"]
    tasks = {model: task for package, task in _TASKS.items() for model in package.list_models()}
    if name not in tasks:
        raise UserError(f"unknown model {name!r}: {did_you_mean(name, tasks)}")
    return tasks[name](config)
