"""Fills a recipe up with the defaults of every section, so that each field can be overridden."""

import dataclasses
import types
import typing
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

import maxim_jax
import maxvit_jax
from common.train.trainer import TRAINER_SECTIONS
from maxim_jax.tasks import restoration as restoration_task
from maxvit_jax.tasks import classification as classification_task


def classification(config: ConfigDict) -> ConfigDict:
    """Returns a classification recipe with every field of every section present.

    Args:
      config: what the recipe sets; `config.model.name` at least. Of the model's fields that it
        leaves out, those that make the variant stay open and follow `config.model.name`, and
        `num_classes` follows the data.
    """
    task = classification_task
    sections = {"init": task.InitConfig, "task": task.LossConfig, "data": task.ClassificationData}
    return _complete(config, sections, maxvit_jax, open_fields=["num_classes"])


def restoration(config: ConfigDict) -> ConfigDict:
    """Returns a restoration recipe with every field of every section present.

    Args:
      config: what the recipe sets; `config.model.name` at least. Of the model's fields that it
        leaves out, those that make the variant stay open and follow `config.model.name`.
    """
    task = restoration_task
    sections = {"init": task.InitConfig, "task": task.LossConfig, "data": task.RestorationData}
    return _complete(config, sections, maxim_jax)


def _complete(
    config: ConfigDict,
    sections: dict[str, type],
    package: types.ModuleType,
    open_fields: typing.Sequence[str] = (),
) -> ConfigDict:
    for name, section in (sections | TRAINER_SECTIONS).items():
        config[name] = _fill(section, config.get(name, {}))
    given = dict(config.model)
    name = given.pop("name")
    model = package.create_model(name)
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    variant = next(f.variants[name] for f in package.FAMILIES.values() if name in f.variants)
    values |= {"dtype": "float32"} | dict.fromkeys([*variant, *open_fields])
    hints = typing.get_type_hints(type(model))
    fields = {
        name: _open(value, hints[name])
        for name, value in values.items()
        if name not in ("parent", "name")
    }
    config.model = {"name": name} | fields | given
    return config


def _fill(section: type, given: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    defaults = {
        f.name: _open(f.default, hints[f.name])
        for f in dataclasses.fields(section)
        if f.default is not dataclasses.MISSING
    }
    return defaults | {k: v for k, v in dict(given).items() if v is not None or k not in defaults}


def _open(value: Any, hint: Any) -> Any:
    """A default of None becomes a placeholder of its type, which a command line can set."""
    if value is not None:
        return value
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    return placeholder(typing.get_origin(kind) or kind)
