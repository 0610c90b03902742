"""Fields of models: checked when they are set, and never code when they come from a file."""

import dataclasses
import math
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from etils import epath
from flax import linen as nn
from jax import numpy as jnp

from common.advice import set_field
from common.config import check_type, require
from common.errors import UserError, did_you_mean
from common.foreign_words import translated

# How a model computes, not what its arrays are: not stored with weights.
RUNTIME_FIELDS = {"dtype", "remat", "frozen_norm"}
_BLOCKS = re.compile(r"depths?|num_(stages|groups|bottleneck_blocks|supervision_scales)|\w+_levels")
_WINDOWS = re.compile(r"(bias_)?window_size|grid_size|stripe_width")
_LARGEST_WINDOW = 64  # which positions see each other is a table with its fourth power
_ANY_SIZE = 1 << 20  # of images, say, however small the model is


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
                f" trust it, give it yourself, {set_field(field, '...')}"
            )


def refuse_giants(path: epath.PathLike, fields: Mapping[str, Any], shapes: Collection) -> None:
    """Checks that fields read beside some arrays can be those of a model with these.

    Making a model takes time and memory by its fields alone, before any array is compared.

    Args:
      path: of the file, for the message.
      fields: of a model, as read; those of parts within are looked at too.
      shapes: of the arrays.

    Raises:
      UserError: more blocks than arrays, numbers that are not finite or larger than all arrays,
        windows that no image has.
    """
    most = max(sum(math.prod(shape) for shape in shapes), _ANY_SIZE)
    for field, value in fields.items():
        if isinstance(value, Mapping):
            refuse_giants(path, value, shapes)
            continue
        numbers = list(_numbers(value))
        limit = len(shapes) if _BLOCKS.fullmatch(field) else most
        if _WINDOWS.fullmatch(field):
            limit = _LARGEST_WINDOW * len(numbers)
        fits = all(math.isfinite(n) for n in numbers) and sum(map(abs, numbers)) <= limit
        said = f"{field}={str(value)[:60]}"
        require(fits, f"{path} says {said}, which no model with its {len(shapes)} arrays has")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
