"""The jobs there are: one row each. No other file of `launch` asks which one it has."""

from collections.abc import Mapping
from typing import Any

from common.config import require
from common.errors import UserError, did_you_mean
from common.task import Task
from common.train.run_directory import CHECKPOINTS, read_config, read_model_name
from common.weights import io
from maxim_jax.tasks.restoration import RestorationTask
from maxvit_jax.tasks.classification import ClassificationTask
from maxvit_jax.tasks.detection import DetectionTask
from maxvit_jax.tasks.generation import GenerationTask
from maxvit_jax.tasks.multilabel import MultilabelTask
from maxvit_jax.tasks.quality import QualityTask
from maxvit_jax.tasks.segmentation import SegmentationTask

# By `config.task.kind`. A config without one means the first job of its model's package.
TASKS: dict[str, type[Task]] = {
    task.kind: task
    for task in (
        ClassificationTask,
        RestorationTask,
        SegmentationTask,
        DetectionTask,
        QualityTask,
        GenerationTask,
        MultilabelTask,
    )
}


def make_task(config: Mapping[str, Any]) -> Task:
    """Returns the task that a config describes.

    Raises:
      UserError: an unknown job or model, a section that doesn't hold together, or data that isn't
        there.
    """
    return task_of(config)(config)


def task_of(config: Mapping[str, Any]) -> type[Task]:
    """Returns the job that `config.task.kind` names, or else `config.model.name` stands for.

    Raises:
      UserError: neither is known.
    """
    for name in ("model", "task"):
        section = config.get(name, {})
        require(hasattr(section, "items"), f"config.{name}={section!r}: expected a section")
    require(isinstance(config.get("model", {}).get("name"), str), "config.model.name is missing")
    kind = config.get("task", {}).get("kind")
    if kind is None:
        return task_of_model(config["model"]["name"])
    hint = did_you_mean(str(kind), TASKS)
    require(str(kind) in TASKS, f"config.task.kind={kind!r}: there is no such job, {hint}")
    return TASKS[kind]


def job_of_flags(
    workdir: str | None, model: str | None, weights: str | None
) -> tuple[str, str, type[Task]]:
    """Returns name, place and job of the model that a command line gives; see `weights_of_flags`.

    Raises:
      UserError: nothing or both are given, or what is given isn't there.
    """
    name, place = weights_of_flags(workdir, model, weights)
    return name, place, task_of(read_config(place)) if workdir else task_of_weights(name, place)


def weights_of_flags(
    workdir: str | None, model: str | None, weights: str | None
) -> tuple[str, str]:
    """Returns name and place of the model that a command line gives.

    Args:
      workdir: run directory; nothing else is given then.
      model: see `model_and_weights`.
      weights: likewise.

    Raises:
      UserError: nothing or both are given, or what is given isn't there.
    """
    either = "give either --workdir, or --model and --weights"
    require(bool(workdir) != bool(model or weights), either)
    return (read_model_name(workdir), workdir) if workdir else model_and_weights(model, weights)


def model_and_weights(model: str | None, weights: str | None) -> tuple[str, str]:
    """Returns the model and the weights that a command line gives, of which one may be missing.

    Args:
      model: name of the model; alone it means the weights that are published under it.
      weights: anything that `load_pretrained` reads; alone, what says its model itself.

    Raises:
      UserError: neither is given, or the one that is doesn't say the other.
    """
    if model and weights:
        return model, weights
    require(bool(model or weights), "name a model with --model, or give weights that say theirs")
    if model:
        return task_of_model(model).package.locate(model)
    packages = dict.fromkeys(task.package for task in TASKS.values())
    for package in packages:
        if package.knows(weights):
            return package.locate(weights)
    for package in packages:
        if (name := package.model_of(weights)) is not None:
            return name, weights
    raise UserError(f"{weights} needs --model: it doesn't say which model it is of")


def task_of_weights(name: str, path: str) -> type[Task]:
    """Returns the job of weights that a command line gives with a model's name.

    Raises:
      UserError: no package has the model; or they are a run of another job than the model's first,
        whose outputs mean something else.
    """
    job = task_of_model(name)
    place = job.package.weight_path(path)
    if (place / CHECKPOINTS).is_dir():
        kind = task_of(read_config(str(place))).kind
        require(kind == job.kind, f"{path} is a run of {kind}: give it as --workdir")
    elif io.is_own(place):
        kind = io.read_config(place).get("task", job.kind)
        require(kind == job.kind, f"{path} was trained for {kind}: give its run as --workdir")
    return job


def task_of_model(name: str) -> type[Task]:
    """Returns the job that a model is for when nothing else is said.

    Raises:
      UserError: no package has the model.
    """
    for task in TASKS.values():
        if task.package.knows(name):
            return task
    known = {model for task in TASKS.values() for model in task.package.list_models()}
    raise UserError(f"unknown model {name!r}: {did_you_mean(name, known)}")
