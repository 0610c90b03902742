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
import fcntl
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from common.kept_results import KeptResults
from common.news import say
from common.photo_names import short_name
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
    several processes with reports for one place each has a folder of its own, except on bucket
    paths, which have no locks.

    Args:
      path: of the report; `path-2` .. when there is an earlier one.
      settings: what kept results depend on, as JSON values.
    """
    path = epath.Path(path)
    made = [above for above in path.parents if not above.exists()]
    folder, lock = _own_folder(path)
    with lock:
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


def _own_folder(path: epath.Path) -> tuple[epath.Path, contextlib.AbstractContextManager]:
    """A hidden folder that no other process has, and what keeps it so."""
    for number in itertools.count(1):
        ending = f"-{number}" if number > 1 else ""
        folder = path.parent / f".{short_name(path)}.unfinished{ending}"
        folder.mkdir(parents=True, exist_ok=True)
        if "://" in str(folder):
            return folder, contextlib.nullcontext()
        taken = contextlib.suppress(BlockingIOError, FileNotFoundError)
        with taken, contextlib.ExitStack() as stack:
            file = stack.enter_context(open(folder / _LOCK, "a"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Not one that became a report before it was locked.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return folder, stack.pop_all()


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
