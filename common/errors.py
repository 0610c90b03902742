"""The one exception a user should ever see, and the hints that go with it."""

import difflib
from collections.abc import Iterable
from numbers import Integral

_LISTED = 60  # names in a message
_LONGEST = 1800  # characters of one


class UserError(ValueError):
    """A mistake outside the code (a config, a file, a size): mains print one line and exit 2.

    The message says what was wrong, where, and what to do: one line that can be printed, whatever
    names and values of files are in it.
    """

    def __init__(self, message: str):
        super().__init__(readable(message))


class TooLarge(UserError):
    """One input needs more memory than there is; others may do."""


def readable(message: str) -> str:
    """Returns one line that can be printed and drawn, whatever names of files or classes are in it.

    The middle of what nobody would read is cut out, and what can't be printed is escaped.
    """
    shown = _cut(message)
    if not shown.isprintable():
        parts = (" " if c.isspace() else c if c.isprintable() else ascii(c)[1:-1] for c in shown)
        shown = _cut("".join(parts))
    return shown


def _cut(text: str) -> str:
    more = len(text) - _LONGEST
    half = _LONGEST // 2
    return f"{text[:half]}[... {more:,} characters ...]{text[-half:]}" if more > 0 else text


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns the hint that ends an unknown-name message: the closest choices, or all (60 at most).

    Args:
      name: what the user wrote.
      choices: the valid names.
    """
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    if len(choices) > _LISTED:
        choices[_LISTED:] = [f"{len(choices) - _LISTED} others"]
    return f"choose from {', '.join(choices)}" if choices else "there are none"


def nearest_valid(value: int, multiple: int) -> str:
    """Returns the hint that ends a message about a number that is not a multiple of another.

    Args:
      value: what the user gave; a symbolic size has no neighbours.
      multiple: what a positive multiple of is needed.

    Returns:
      Such as `"nearest valid: 224 or 448"`: the multiples around `value`.
    """
    if not isinstance(value, Integral):
        return f"valid: multiples of {multiple}, such as {multiple}*n"
    below = max(value, 0) // multiple * multiple
    return f"nearest valid: {f'{below} or ' if below > 0 else ''}{below + multiple}"
