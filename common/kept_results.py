"""Results of long work in small files, so that an interruption costs only what was under way."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from common.news import say
from common.unfinished import write_bytes
from common.weights.io import to_safetensors
from common.weights.safetensors_files import parse_safetensors

LIMIT = 4 << 30  # bytes of one evaluation; what comes after them is done again
_ENDING = ".safetensors"
_ARRAY, _TREE = "array", "tree"


class KeptResults:
    """What parts of some work gave, such as batches, by number: each a file, complete or not there.

    A result is a tree of dicts with texts as keys and of lists, whose leaves are arrays and JSON
    values. It comes back with the same bits; tuples come back as lists, and arrays are read-only.

    Args:
      folder: of the files; made once there is something to keep.

    Attributes:
      found: how many there were at the start.
    """

    def __init__(self, folder: epath.Path):
        self._folder, self._ended = folder, False
        found = folder.iterdir() if folder.is_dir() else ()
        sizes = [file.stat().length for file in found if file.name[0] != "."]
        self.found, self._size = len(sizes), sum(sizes)

    def get(self, number: int) -> Any:
        """Returns the result of a part; None where there is none, or a damaged file."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            arrays = parse_safetensors(path, path.read_bytes())
            return _unpacked(json.loads(arrays.pop(_TREE).tobytes()), arrays)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def keep(self, number: int, result: Any) -> None:
        """Writes the result of a part, unless there is no more room for any."""
        if self._ended:
            return
        arrays: dict[str, np.ndarray] = {}
        text = json.dumps(_packed(result, arrays)).encode()
        content = to_safetensors(arrays | {_TREE: np.frombuffer(text, np.uint8)})
        if self._size + len(content) > LIMIT:
            self._ended = True
            say(f"{LIMIT >> 30} GiB of results are kept: an interruption costs those that follow")
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self._path(number), content)
        except OSError as error:  # the report may still have room
            self._ended = True
            self._folder.rmtree(missing_ok=True)
            say(f"can't keep results in {self._folder} ({error.strerror}): none are")
        self._size += len(content)

    def say_going_on(self, done: int, total: int, unit: str) -> None:
        """Prints that results were found: of how many images, say."""
        kept = f"{self._size / 1e3:,.0f} kB are kept until it is complete"
        say(f"going on after {done:,} of {total:,} {unit} of an interrupted evaluation ({kept})")

    def _path(self, number: int) -> epath.Path:
        return self._folder / f"{number:08d}{_ENDING}"


def _packed(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The tree as JSON, its arrays apart."""
    if isinstance(tree, np.ndarray | np.generic):
        name = str(len(arrays))
        arrays[name] = np.asarray(tree)
        return {_ARRAY: name}
    if isinstance(tree, Mapping):
        return {_TREE: {key: _packed(value, arrays) for key, value in tree.items()}}
    return [_packed(each, arrays) for each in tree] if isinstance(tree, list | tuple) else tree


def _unpacked(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, dict):
        if _ARRAY in tree:
            return arrays[tree[_ARRAY]]
        return {key: _unpacked(value, arrays) for key, value in tree[_TREE].items()}
    return [_unpacked(each, arrays) for each in tree] if isinstance(tree, list) else tree
