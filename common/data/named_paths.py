"""Files by how tables and lists name them: by the end of their path, with or without suffix."""

import os
from collections.abc import Sequence


class NamedPaths:
    """Finds "images/cats/7.jpg" by itself, "cats/7.jpg", "7.jpg", "cats/7" or "7".

    A folder that a name has must be the file's: "dogs/7.jpg" does not find it.

    Args:
      paths: of the files, relative.
    """

    def __init__(self, paths: Sequence[str]):
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            for name in (path, _stem(path)):
                self._by_name.setdefault(os.path.basename(name), []).append(path)

    def find(self, name: str) -> list[str]:
        """Returns the files that a name may mean: one if all is well."""
        name = name.replace("\\", "/").removeprefix("./")
        found = self._by_name.get(os.path.basename(name), [])
        exact = [path for path in found if path == name]
        whole = [path for path in found if f"/{path}".endswith(f"/{name}")]
        return exact or whole or [path for path in found if f"/{_stem(path)}".endswith(f"/{name}")]


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
