"""Wrappers around a model in a weight file: the prefix after which its names fit a table.

`module.`, `model.`, `teacher.backbone.` and whatever else trainers put before the names of the
network that they train, in every format: found by the names themselves.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from common.weights.mapping import Table, told
from common.weights.readers import WeightFile

_AVERAGED = re.compile(r"ema|averag|swa|shadow|teacher", re.IGNORECASE)  # what is evaluated
_FEWEST = 12  # arrays of a model; another family's stem can look like ours


def without_prefix(file: WeightFile, tables: Iterable[Table], stem: str) -> WeightFile:
    """Returns a file with the names that a table knows; arrays of other names are left over.

    Of several copies of a model moving averages come first, then what has the shortest prefix.

    Args:
      file: of another framework.
      tables: all names that a model may have there.
      stem: pattern of our names of the kernels that see the image: they tell where a model begins.
    """
    tables = tuple(tables)
    prefixes = set().union(*(_candidates(file.arrays, table, stem) for table in tables))
    if prefixes <= {""}:
        return file

    def fit(prefix: str) -> tuple[int, bool, int]:
        names = [name[len(prefix) :] for name in file.arrays if name.startswith(prefix)]
        known, idle = max(told(names, table) for table in tables)
        whole = known >= _FEWEST and 2 * known >= len(names) - idle  # the latter as `detect`
        return known * whole, bool(_AVERAGED.search(prefix)), -len(prefix)

    prefix = max(sorted(prefixes), key=fit)
    if not prefix or not fit(prefix)[0]:
        return file
    inner = {n[len(prefix) :]: a for n, a in file.arrays.items() if n.startswith(prefix)}
    left = tuple(name for name in file.arrays if not name.startswith(prefix))
    return dataclasses.replace(file, arrays=inner, left=(*file.left, *left), prefix=prefix)


def _candidates(names: Iterable[str], table: Table, stem: str) -> Iterator[str]:
    """What stands before the names of a stem."""
    templates = table.templates_of(stem)
    for name in names:
        for part in re.finditer(r"^|(?<=[./])", name):
            rest = table.spelling(name[part.start() :])
            if any(template.read(rest) is not None for template in templates):
                yield name[: part.start()]
