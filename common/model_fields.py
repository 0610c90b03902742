"""Fields of models: checked when they are set, and never code when they come from a file."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath
from flax import linen as nn
from jax import numpy as jnp

from common.config import check_type
from common.errors import UserError, did_you_mean
from common.foreign_words import translated

# How a model computes, not what its arrays are: not stored with weights.
RUNTIME_FIELDS = {"dtype", "remat", "frozen_norm"}


def stored_fields(model: nn.Module) -> dict[str, Any]:
    """Returns the values of a model's fields, by name."""
    names = [f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name")]
    values = {name: getattr(model, name) for name in names}
    return {n: dict(v) if isinstance(v, Mapping) else v for n, v in values.items()}


def clean_fields(module: type[nn.Module], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Checks names and types of fields; lists and arrays become tuples, dtype names dtypes.

    Args:
      module: a class with such fields.
      overrides: values by field.

    Raises:
      UserError: an unknown field, or a value of another type.
    """
    known = {f.name for f in dataclasses.fields(module)} - {"parent", "name"}
    hints = typing.get_type_hints(module)
    result = {}
    for name, value in overrides.items():
        if name not in known:
            hint = translated(name, known) or did_you_mean(name, known)
            raise UserError(f"{module.__name__} has no field {name!r}: {hint}")
        if name == "dtype":
            try:
                if not jnp.issubdtype(value := jnp.dtype(value), jnp.floating):
                    raise TypeError
            except TypeError as error:
                raise UserError(f"unknown dtype '{value}': try float32 or bfloat16") from error
            result[name] = value
        else:
            result[name] = check_type(value, hints[name], name)
    return result


def refuse_code(path: epath.PathLike, fields: Mapping[str, Any], given: Iterable[str] = ()) -> None:
    """Checks that fields read from a file name no code, which making the model would import.

    Args:
      path: of the file, for the message.
      fields: of a model, as read.
      given: names of fields that the caller sets in their place.

    Raises:
      UserError: a field holds a name like `"module:Class"`.
    """
    for field, value in fields.items():
        code = next((text for text in _texts(value) if ":" in text), None)
        if code is not None and field not in given:
            raise UserError(
                f"{path} names code, {field}={code!r}, and a file never makes us import any: if you"
                f" trust it, give {field} yourself, as an argument {field}=..."
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
