"""Files by what names in annotations end with: tools write other folders in front, or URLs."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

# Label Studio puts it before the name of an uploaded file.
_UPLOAD = re.compile(r"^[\da-f]{8}-(?=.)")


class TrailingPaths:
    """Finds files by names such as "images/7.jpg" or "https://host/data/upload/1/7.jpg".

    Args:
      paths: of the files, relative.
    """

    def __init__(self, paths: Sequence[str]):
        self._paths = frozenset(paths)
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            self._by_name.setdefault(PurePosixPath(path).name, []).append(path)

    def find(self, name: str) -> list[str]:
        """Returns the files that a name agrees with in most last parts: one if all is well."""
        if name in self._paths:
            return [name]
        for text in (name, _path_of_url(name)):
            parts = text.replace("\\", "/").split("/")
            for last in (parts[-1], _UPLOAD.sub("", parts[-1])):
                if last in self._by_name:
                    return _most_alike([*parts[:-1], last], self._by_name[last])
        return []


def _path_of_url(name: str) -> str:
    """The path in a URL; in that of a local file in Label Studio it is the query."""
    try:
        url = urlsplit(name)
    except ValueError:
        return name
    return unquote(url.query.removeprefix("d=") if url.query.startswith("d=") else url.path)


def _most_alike(parts: Sequence[str], paths: Sequence[str]) -> list[str]:
    counts = [_in_common(parts, path.split("/")) for path in paths]
    return [path for path, count in zip(paths, counts, strict=True) if count == max(counts)]


def _in_common(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[-1 - count] == b[-1 - count]:
        count += 1
    return count
