"""Fills a recipe up with the defaults of every section, so that each field can be overridden."""

import dataclasses
import types
import typing
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder

from common.task import Task
from common.train.sections import TRAINER_SECTIONS
from maxim_jax.tasks.restoration import RestorationTask
from maxvit_jax.tasks.classification import ClassificationTask


def complete(config: ConfigDict, task: type[Task]) -> ConfigDict:
    """Returns a recipe with every field of every section present.

    Args:
      config: what the recipe sets; `config.model.name` at least. Of the model's fields that it
        leaves out, those that make the variant stay open and follow `config.model.name`, and the
        task's `open_fields` follow the task.
      task: the job.
    """
    for name, section in {**task.sections, **TRAINER_SECTIONS}.items():
        config[name] = _fill(section, config.get(name, {}))
    given = {key: value for key, value in dict(config.model).items() if value is not None}
    name = given.pop("name")
    found, model = task.package.find(name), task.package.create_model(name)
    variant = task.package.FAMILIES[found.family].variants[found.model]
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    values |= {"dtype": "float32"}
    opened = [*variant, *found.fields, *task.open_fields]
    values |= dict.fromkeys(name for name in opened if name in values)
    hints = typing.get_type_hints(type(model))
    fields = {
        key: _open(value, hints[key])
        for key, value in values.items()
        if key not in ("parent", "name")
    }
    config.model = {"name": name} | fields | given
    return config


def classification(config: ConfigDict) -> ConfigDict:
    """`complete` for classifiers, by the name that recipes used to call."""
    return complete(config, ClassificationTask)


def restoration(config: ConfigDict) -> ConfigDict:
    """`complete` for restoration, by the name that recipes used to call."""
    return complete(config, RestorationTask)


def _fill(section: type, given: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    defaults = {
        f.name: _open(f.default, hints[f.name])
        for f in dataclasses.fields(section)
        if f.default is not dataclasses.MISSING
    }
    given = {k: v for k, v in dict(given).items() if v is not None or k not in defaults}
    return {name: _either(value, hints.get(name)) for name, value in (defaults | given).items()}


def _either(value: Any, hint: Any) -> Any:
    """A value that a command line can replace by one of another type, where there are several."""
    if value is None or isinstance(value, FieldReference) or len(_kinds(hint)) < 2:
        return value
    return FieldReference(value, field_type=object)


def _open(value: Any, hint: Any) -> Any:
    """A default of None becomes a placeholder of its type, which a command line can set."""
    if value is not None:
        return value
    kind = _kinds(hint)[0]
    return placeholder(typing.get_origin(kind) or kind)


def _kinds(hint: Any) -> list[Any]:
    """The types of a field but for None."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return [kind for kind in kinds if kind is not type(None)]
