"""A table of what was found in photos, which an interruption leaves usable.

with photo_table(Path("predictions.csv")) as table:
    for photo in photos:
        if str(photo) not in table.done:
            table.write(photo, rows_of(photo))
"""

import contextlib
import csv
import fcntl
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from common.csv_text import csv_text
from common.errors import UserError
from common.regular_files import in_place

TABLE = "predictions.csv"  # in a folder of results


def unfinished(path: Path) -> Path:
    """Returns where a table is until it is complete: `predictions.unfinished.csv`."""
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")


class PhotoTable:
    """A CSV file that grows by the rows of a photo at a time; see `photo_table`.

    Attributes:
      path: where it is until it is complete.
      done: the photos that it has; those without rows are not among them.
    """

    def __init__(self, path: Path, file: TextIO):
        self.path, self._file = path, file
        self.done, self._columns = frozenset(), None
        file.seek(0)
        text = file.read()
        changed = f"{path} was changed after its interruption: remove it, or write another"
        try:
            columns, *rows = csv.reader(io.StringIO(text, newline="")) if text else [[]]
        except csv.Error as error:  # such as a field of megabytes
            raise UserError(changed) from error
        # A row may have been cut off, and rows of the last photo be missing: that is done again.
        rows = rows if text.endswith("\r\n") else rows[:-1]
        kept = [row for row in rows if row[:1] != rows[-1][:1]]
        lines = csv_text([columns, *kept]) if kept else ""
        if not text.startswith(lines):
            raise UserError(changed)
        file.truncate(len(lines.encode(file.encoding, file.errors)))
        if kept:
            self.done, self._columns = frozenset(name for row in kept for name in row[:1]), columns

    def write(self, photo: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds the rows of a photo, by column: they are in the file when this returns.

        Raises:
          UserError: rows with other columns than those before.
        """
        if not rows:
            return
        columns = ["image", *rows[0]]
        if self._columns not in (None, columns):
            raise UserError(
                f"{self.path} has the columns {', '.join(self._columns)}, not {', '.join(columns)}:"
                " it is of another model; remove it, or write another"
            )
        header = [columns] if self._columns is None else []
        self._columns = columns
        self._file.write(csv_text([*header, *([photo, *row.values()] for row in rows)]))
        self._file.flush()


@contextlib.contextmanager
def photo_table(path: Path) -> Iterator[PhotoTable]:
    """Opens a table, which has its name once the block ends well; until then `unfinished`.

    What an interruption left under that name is gone on with. A table without rows is not kept.

    Args:
      path: of the CSV file.

    Raises:
      UserError: another process writes it, or what is there was changed.
    """
    place = unfinished(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    text = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with open(place, "a+", opener=in_place, **text) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{place} is being written by another process: wait for it") from None
        yield PhotoTable(place, file)
    if place.stat().st_size:
        place.rename(path)
    else:
        place.unlink()
