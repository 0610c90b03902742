"""A report that is complete or hidden, and that an interruption leaves to be gone on with.

with unfinished_report(path, settings) as report:
    kept = report.kept()
    for number, part in enumerate(work):
        if kept.get(number) is None:
            kept.keep(number, done(part))
    write_json(report.folder / "metrics.json", ...)
print(f"the report is in {report.folder}")
"""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from common.errors import UserError
from common.file_locks import locked
from common.kept_results import KeptResults
from common.news import say
from common.photo_names import temporary_name
from common.report import free_path

_KEPT, _SETTINGS, _LOCK = ".kept", ".settings.json", ".lock"


class UnfinishedReport:
    """A report in the making; see `unfinished_report`.

    Attributes:
      folder: where it is, hidden until it is complete.
    """

    def __init__(self, folder: epath.Path):
        self.folder = folder

    def kept(self, name: str = "results") -> KeptResults:
        """Returns the results of that name which an interruption left, and keeps further ones."""
        return KeptResults(self.folder / _KEPT / name)


@contextlib.contextmanager
def unfinished_report(
    path: epath.PathLike, settings: Mapping[str, Any]
) -> Iterator[UnfinishedReport]:
    """Makes a report in a hidden folder beside its place, which it gets once the block ends well.

    What an interruption left there is gone on with if it has the same settings, else replaced. Of
    several processes with reports for one place each has a folder of its own, except on buckets
    and file systems without locks.

    Args:
      path: of the report; `path-2` .. when there is an earlier one.
      settings: what kept results depend on, as JSON values.
    """
    path = epath.Path(path)
    made = [above for above in path.parents if not above.exists()]
    with _own_folder(path) as folder:
        _clear_unless(folder, json.dumps(settings, indent=2).encode())
        report = UnfinishedReport(folder)
        try:
            yield report
        except BaseException:
            if not _say_kept(folder):
                folder.rmtree()
                with contextlib.suppress(OSError):  # something else is there by now
                    for above in made:
                        above.rmdir()
            raise
        report.folder = _moved(folder, path)
        for name in (_KEPT, _SETTINGS, _LOCK):
            _remove(report.folder / name)


def has_report(folder: epath.Path) -> bool:
    """Whether there is anything but unfinished reports."""
    return folder.exists() and any(path.name[0] != "." for path in folder.iterdir())


@contextlib.contextmanager
def _own_folder(path: epath.Path) -> Iterator[epath.Path]:
    """A hidden folder that no other process has until the block ends."""
    with contextlib.ExitStack() as stack:
        for number in itertools.count(1):
            ending = f"unfinished-{number}" if number > 1 else "unfinished"
            folder = path.parent / temporary_name(path, ending)
            with contextlib.suppress(UserError):  # another process has it
                stack.enter_context(locked(folder / _LOCK, path))
                break
        folder.mkdir(parents=True, exist_ok=True)  # nothing was locked on a bucket
        yield folder


def _clear_unless(folder: epath.Path, settings: bytes) -> None:
    """Empties a folder unless it was made with the same settings."""
    note = folder / _SETTINGS
    before = note.read_bytes() if note.exists() else b""
    if before == settings:
        return
    if before:
        say(f"{folder} is of an evaluation with other settings, weights or data: it is replaced")
    for path in folder.iterdir():
        if path.name != _LOCK:
            _remove(path)
    note.write_bytes(settings)


def _say_kept(folder: epath.Path) -> bool:
    """Whether there are results to go on with; prints where they are."""
    kept = folder / _KEPT
    there = kept.is_dir() and any(any(part.iterdir()) for part in kept.iterdir())
    if there:
        say(f"results so far are kept in {folder}: the same command goes on with them")
    return there


def _moved(folder: epath.Path, path: epath.Path) -> epath.Path:
    while True:
        place = free_path(path)
        try:
            return folder.rename(place)
        except OSError:
            if not place.exists():  # else another report has just got that name
                raise


def _remove(path: epath.Path) -> None:
    if path.is_dir():
        path.rmtree()
    else:
        path.unlink(missing_ok=True)
