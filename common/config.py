"""From ml_collections config files to checked, frozen sections.

A recipe is a ConfigDict at the edge, so that every field can be overridden on the command line.
Before anything compiles each section becomes one of the dataclasses that the parts define; an
unknown, missing or ill-typed field ends there.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from common.errors import UserError, did_you_mean

T = TypeVar("T")


def parse_section(cls: type[T], values: Mapping[str, Any], name: str) -> T:
    """Turns one config section into its frozen dataclass.

    Args:
      cls: a dataclass; its fields are the section's fields.
      values: the section as a mapping.
      name: where it stands in the config, for messages.

    Raises:
      UserError: a field is unknown, missing, or of another type.
    """
    require(hasattr(values, "items"), f"config.{name}={values!r}: expected a section of fields")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"config.{name}.{key}: unknown field, {did_you_mean(key, fields)}")
        checked[key] = check_type(value, hints[key], f"config.{name}.{key}")
        _require_finite(checked[key], f"config.{name}.{key}")
    for key, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and key not in checked:
            raise UserError(f"config.{name}.{key} is missing")
    return cls(**checked)


def parse_arg(arg: str, **defaults: Any) -> types.SimpleNamespace:
    """Parses the `k=v,k=v` that follows a config file's name and a colon.

    Args:
      arg: e.g. `"size=384,smoke=true"`.
      **defaults: the keys allowed, each with its default; values take the default's type.

    Raises:
      UserError: an unknown key, or a value that doesn't parse.
    """
    values = dict(defaults)
    for item in filter(None, arg.split(",")):
        key, equals, text = item.partition("=")
        if key not in defaults:
            raise UserError(f"config argument {key!r}: {did_you_mean(key, defaults)}")
        kind = type(defaults[key])
        try:
            if not equals:
                raise ValueError
            values[key] = _parse_bool(text) if kind is bool else kind(text)
        except ValueError:
            raise UserError(f"config argument {item!r}: expected {key}=<{kind.__name__}>") from None
    return types.SimpleNamespace(**values)


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError
    return text.lower() in ("true", "1")


def check_type(value: Any, hint: Any, where: str) -> Any:
    """Returns `value` as `hint` asks (int to float, list to tuple, NumPy's kinds to Python's).

    Args:
      value: of a field.
      hint: the field's type.
      where: its name, for messages.

    Raises:
      UserError: the value is of another type.
    """
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.Any not in options and hasattr(type(value), "__array__"):
        value = np.asarray(value).tolist()
    for option in options:
        origin = typing.get_origin(option) or option
        if value is None and option is type(None):
            return None
        if origin is typing.Any:
            return value
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            return _as_float(value)
        if origin is tuple and isinstance(value, list | tuple):
            item = (typing.get_args(option) or (typing.Any,))[0]
            return tuple(check_type(v, item, f"{where}[{i}]") for i, v in enumerate(value))
        if origin is dict and isinstance(value, Mapping):
            return dict(value)
        if origin is typing.Literal:
            if value in typing.get_args(option):
                return value
            choices = [str(choice) for choice in typing.get_args(option)]
            raise UserError(f"{where}={value!r}: {did_you_mean(str(value), choices)}")
        if isinstance(origin, type) and isinstance(value, origin):
            if isinstance(value, bool) and origin is not bool:
                continue
            return value
    expected = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    raise UserError(f"{where}={value!r}: expected {expected}")


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # of a whole number with hundreds of digits
        return math.inf


def _require_finite(value: Any, where: str) -> None:
    """No field means anything by infinity, or by what is no number."""
    numbers = [n for n in (value if isinstance(value, tuple) else [value]) if type(n) is float]
    require(all(map(math.isfinite, numbers)), f"{where}={value}: a finite number is needed")
