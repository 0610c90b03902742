"""What photos of a folder are called in its results: names of files, ids of images."""

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.config import require

_LONGEST = 200  # characters of a name in a message
_SHORT = 200  # bytes of a name; file systems take 255


def relative_paths(root: Path, paths: Iterable[Path]) -> dict[Path, Path]:
    """Returns paths as they are within a folder.

    Raises:
      UserError: two that some file systems would take for one, as they differ in case alone.
    """
    inside = {path: path.relative_to(root) for path in paths}
    path_of: dict[str, Path] = {}
    for path, place in inside.items():
        other = path_of.setdefault(_key(place), path)
        require(other is path, f"--input: {other} and {path} differ in case alone: rename one")
    return inside


def shown(path: os.PathLike | str) -> str:
    r"""Returns a name as messages show it: one line of at most 200 characters.

    What can't be printed, such as bytes that are no text, is written as `\n` or `\udce9`; of longer
    names the end is kept, which tells them apart.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


def temporary_name(path: os.PathLike | str, ending: str = "tmp") -> str:
    """Returns what a file is called until it is complete, which is never too long."""
    name = os.path.basename(path)
    short = name if len(os.fsencode(name)) <= _SHORT else f"{zlib.crc32(os.fsencode(name)):08x}"
    return f".{short}.{ending}"


def places(inside: Mapping[Path, Path]) -> dict[Path, Path]:
    """Returns where in an output folder the files about every photo begin.

    That is its name without suffix, if this is enough to tell it from the others.

    Args:
      inside: of the photos; see `relative_paths`.
    """
    names = {_key(place) for place in inside.values()}
    stems = Counter(_key(place.with_suffix("")) for place in inside.values())

    def is_enough(stem: Path) -> bool:
        return stems[_key(stem)] == 1 and _key(stem) not in names

    return {
        path: stem if is_enough(stem := place.with_suffix("")) else place
        for path, place in inside.items()
    }


def image_ids(place_of: Mapping[Path, Path]) -> dict[Path, int | str]:
    """Returns an id of its own for every photo.

    It is the number that its name is, as of COCO's `000000000139.jpg`, if no other photo has it;
    else its place, such as `garden/bench`.

    Args:
      place_of: see `places`.
    """
    numbers = {path: int(path.stem) for path in place_of if _is_number(path.stem)}
    counts = Counter(numbers.values())
    return {
        path: numbers[path] if counts[numbers.get(path)] == 1 else place.as_posix()
        for path, place in place_of.items()
    }


def _key(place: Path) -> str:
    return str(place).casefold()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
