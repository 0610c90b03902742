"""Resolves a config to its task: the only place that knows them all."""

from collections.abc import Mapping
from typing import Any

from common.task import Task


def make_task(config: Mapping[str, Any]) -> Task:
    """Returns the task that a config describes.

    Raises:
      UserError: a section doesn't hold together, or its data isn't there.
    """
    from maxvit_jax.tasks.classification import ClassificationTask

    return ClassificationTask(config)
