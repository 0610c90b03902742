"""Files that say how class folders are numbered and called: lists of names, dictionaries, synsets.

A file says so in one of a few ways, and the folders tell in which:

    cat                          a folder per line: its line, from 0, is its number
    n01440764 tench, Tinca tinca a folder and its name, likewise
    0 cat                        numbers of folders, and maybe names: 0 n01440764 tench
    cat 0                        the same with the folder first (ILSVRC's map_clsloc.txt)
    {"cat": 0}                   the same as JSON (Keras, torchvision)
    {"0": "cat"}                 the same, or names of folders "0", ..
    {"0": ["n01440764", "tench"]} numbers of folders and their names
    ["cat"]                      folders in order
"""

import io
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from common.data.class_folders import class_difference, class_folders
from common.errors import UserError
from common.regular_files import read_file

_LARGEST_FILE = 4 << 20
_NUMBER = re.compile("-?[0-9]{1,9}")

Rows = Sequence[tuple[str, str]]  # a folder and its name per class, in order


def named_folders(folder: Path, classes: Sequence[str] | str = ()) -> dict[str, str]:
    """Returns what the class folders in a folder are called, by class number.

    Args:
      folder: holds one folder of images per class.
      classes: their names in order; or a file that lists them, alone; (): all, sorted as text.

    Raises:
      UserError: there are none, or others than `classes`, or a file that can't be read.
    """
    if classes and (isinstance(classes, str) or len(classes) == 1):
        (file,) = (classes,) if isinstance(classes, str) else classes
        return read_class_map(Path(file).expanduser(), class_folders(folder))
    return {name: name for name in class_folders(folder, classes)}


def read_class_map(file: Path, folders: Sequence[str]) -> dict[str, str]:
    """Reads a file that says how class folders are numbered, and maybe called.

    Args:
      file: UTF-8 text in one of the ways above.
      folders: the names of all class folders.

    Returns:
      Names by folder, in the order of the numbers; where two are the same they have the folder's
      with them.

    Raises:
      UserError: the file can't be read, is in none of these ways, or lists other folders.
    """
    readings = _readings(file, _text(file))
    fitting = [rows for rows in readings if {f for f, _ in rows} == {*folders}]
    if not fitting:
        nearest = max(readings, key=lambda rows: _shared(rows, folders))
        difference = class_difference([name for name, _ in nearest], folders)
        raise UserError(f"{file}, of config.data.classes, lists other classes: {difference}")
    found = fitting[0]
    if any([f for f, _ in rows] != [f for f, _ in found] for rows in fitting):
        raise UserError(
            f"{file}, of config.data.classes, can be read in two ways, as its numbers are folders"
            ' too: write JSON such as {"7": 0}, with the folders in quotes'
        )
    listed = Counter(name for name, _ in found)
    if twice := [name for name, count in listed.items() if count > 1]:
        raise UserError(f"{file}, of config.data.classes, has {twice[0]!r} more than once")
    called = Counter(name for _, name in found)
    names = {f: name if called[name] == 1 else f"{name} ({f})" for f, name in found}
    if len({*names.values()}) < len(names):
        raise UserError(f"{file}, of config.data.classes, has a name more than once: change one")
    return names


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{file}, of config.data.classes, is far too large for a list of names")
        return read_file(file).decode("utf-8-sig")  # Windows' editors put a mark in front
    except OSError as error:
        raise UserError(
            f"config.data.classes={str(file)!r}: {error.strerror}; give a file with a class per"
            " line, or the names of all class folders: \"('cat','dog')\""
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}, of config.data.classes, is no UTF-8 text; save it so") from error


def _readings(file: Path, text: str) -> list[Rows]:
    """All that a file may mean."""
    if file.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        try:
            readings = _of_json(json.loads(text, object_pairs_hook=_each_once))
        except (ValueError, RecursionError):
            raise UserError(f"{file}, of config.data.classes, is no JSON") from None
        except KeyError as twice:
            message = f"{file}, of config.data.classes, has {twice} more than once"
            raise UserError(message) from None
    else:
        readings = _of_lines([line for text in io.StringIO(text, None) if (line := text.strip())])
    readings = [rows for rows in readings if rows]
    if not readings:
        raise UserError(
            f"{file}, of config.data.classes, lists no classes with a number each: write a line for"
            ' each, or JSON such as {"cat": 0, "dog": 1}'
        )
    return readings


def _of_lines(lines: Sequence[str]) -> list[Rows]:
    pairs = [_parted(line) for line in lines]
    if any(len(pair) < 2 for pair in pairs):
        return [_plain(lines)]
    rests = [(first, *_parted(rest)) for first, rest in pairs]
    by_folder = _numbered([(number, folder, *name) for folder, number, *name in rests])
    return [_plain(lines), by_folder or pairs, _numbered(pairs), _numbered(rests)]


def _of_json(value: Any) -> list[Rows]:
    if isinstance(value, list) and _are_texts(value):
        return [_plain(value)]
    if not isinstance(value, dict):
        return []
    values = [*value.values()]
    if all(isinstance(number, int) for number in values):
        return [_numbered([(str(number), folder) for folder, number in value.items()])]
    if _are_texts(values):
        by_number = sorted(value, key=lambda n: (int(n) if _NUMBER.fullmatch(n) else 0, n))
        called = [(folder, value[folder]) for folder in by_number]
        by_folder = _numbered([(number, folder) for folder, number in value.items()])
        return [_numbered([*value.items()]), by_folder or called]
    if all(isinstance(pair, list) and len(pair) == 2 and _are_texts(pair) for pair in values):
        folders = _numbered([(number, folder) for number, (folder, _) in value.items()])
        names = dict(values)
        return [[(folder, names[folder]) for folder, _ in folders]]
    return []


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises KeyError of a name that it has twice: one would be lost."""
    listed = Counter(name for name, _ in pairs)
    if twice := [name for name, count in listed.items() if count > 1]:
        raise KeyError(twice[0])
    return dict(pairs)


def _parted(line: str) -> list[str]:
    return re.split(r"[\s,:;]+", line, maxsplit=1)


def _plain(names: Collection[str]) -> Rows:
    return [(name, name) for name in names]


def _numbered(rows: Sequence[Sequence[str]]) -> Rows:
    """Of a number, a folder and maybe its name each, in the order of the numbers.

    None unless these are all numbers, and none is there twice.
    """
    numbers = [number for number, *_ in rows]
    if not all(map(_NUMBER.fullmatch, numbers)) or len({*map(int, numbers)}) < len(numbers):
        return []
    ordered = sorted(rows, key=lambda row: int(row[0]))
    return [(folder, *(name or [folder])) for _, folder, *name in ordered]


def _are_texts(values: Collection[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _shared(rows: Rows, folders: Collection[str]) -> int:
    return len({folder for folder, _ in rows} & {*folders})
