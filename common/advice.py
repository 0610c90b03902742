"""What to do about weights that don't fit, in the words of who reads them.

A function of Python takes arguments, a config has fields, a command has `--config...` for these or
no flag at all.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_in_config: contextvars.ContextVar[bool] = contextvars.ContextVar("in_config", default=False)
_in_command: contextvars.ContextVar[bool] = contextvars.ContextVar("in_command", default=False)


@contextlib.contextmanager
def for_config() -> Iterator[None]:
    """While the block lasts, what is wrong is mended in a config: weights are read for a run."""
    token = _in_config.set(True)
    try:
        yield
    finally:
        _in_config.reset(token)


def for_command() -> None:
    """From here on, whoever asks has a command line."""
    _in_command.set(True)


def set_field(field: str, value: Any) -> str:
    """Returns how a field of a model is set: `"num_classes=3 as an argument"`."""
    if _in_config.get():
        return f"{'--' * _in_command.get()}config.model.{field}={value}"
    return f"{field}={value} {'in Python' if _in_command.get() else 'as an argument'}"


def start_fresh(num_classes: int, what: str) -> str:
    """Returns how a head for another number of classes begins.

    Args:
      num_classes: of the model.
      what: starts fresh then, such as `"the last layer"`.
    """
    flag = f"{'--' * _in_command.get()}config.init.reset_head=true"
    how = flag if _in_config.get() else set_field("num_classes", num_classes)
    return f"{how} starts {what} fresh"
