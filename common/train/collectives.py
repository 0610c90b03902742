"""What the devices of a compiled program send each other, read from the program's text."""

import collections
import math
import re
from typing import NamedTuple

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# The result's shape, with its layout, stands before the operation's name. `-done` is the other half
# of `-start`.
_OPERATION = re.compile(rf" = (.+?) ({'|'.join(COLLECTIVES)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# Their `-start` gives operands and results, the others results alone.
_WITH_OPERANDS = ("all-gather", "collective-permute")


class Collectives(NamedTuple):
    """All collectives of one kind in a program.

    Attributes:
      count: how often it stands in the text; in a loop it runs more often.
      bytes: of their results on one device, together.
    """

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Collectives]:
    """Returns how often each of `COLLECTIVES` stands in a program, and how large their results are.

    Args:
      text: of the compiled program, `compiled.as_text()`.
    """
    count, size = collections.Counter(), collections.Counter()
    for shape, name, start in _OPERATION.findall(text):
        if start and name in _WITH_OPERANDS:
            shape = _items(shape)[1]
        count[name] += 1
        size[name] += _bytes(shape)
    return {name: Collectives(count[name], size[name]) for name in COLLECTIVES}


def in_words(found: dict[str, Collectives]) -> str:
    """Returns such as `15 all-reduce of 115.4 MB`; `none` when there are none."""
    rows = (f"{n} {name} of {size / 1e6:,.1f} MB" for name, (n, size) in found.items() if n)
    return ", ".join(rows) or "none"


def _bytes(shape: str) -> int:
    """Of an array or a nested tuple of them, without what their tiles are padded with."""
    return sum(
        math.prod(map(int, sides.split(",") if sides else ())) * _item_bytes(bits)
        for _, bits, sides in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shape))
    )


def _item_bytes(bits: str) -> int:
    return max(int(bits or 8) // 8, 1)


def _items(shape: str) -> list[str]:
    """The items of a tuple that may hold tuples."""
    items, depth = [""], 0
    for letter in shape.removeprefix("(").removesuffix(")"):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == "," and depth == 0:
            items.append("")
        else:
            items[-1] += letter
    return items
