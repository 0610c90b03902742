"""Tables of images in text files: rows that can be used, and what is wrong with the others."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError

COLUMNS = "row with another number of columns"
NO_NAME = "row without an image"
TWICE = "image listed again"


class OddRow(ValueError):
    """A row that can't be used; its text is the kind of fault."""


class Rows:
    """Collects rows, and the faults of others.

    Attributes:
      images: as the table calls them.
      values: what each row says of its image.
      problems: kind of fault -> the rows that it cost, such as "line 7 (a.jpg)".
    """

    def __init__(self):
        self.images: list[str] = []
        self.values: list[Any] = []
        self.problems: dict[str, list[str]] = {}
        self._seen: set[str] = set()

    def take(self, image: str, values: Any) -> None:
        """Adds a row; raises OddRow if its image has one already."""
        if image in self._seen:
            raise OddRow(TWICE)
        self._seen.add(image)
        self.images.append(image)
        self.values.append(values)

    def odd(self, line: int, image: str, kind: str) -> None:
        """Notes a row that can't be used."""
        named = f"line {line} ({image})" if image else f"line {line}"
        self.problems.setdefault(kind, []).append(named)

    def take_all(
        self,
        lines: Iterable[tuple[int, Sequence[str]]],
        head: Sequence[str],
        wanted: Sequence[str],
        values_of: Callable[[Sequence[str]], Any],
    ) -> None:
        """Takes all lines of a file that follow its head.

        Args:
          lines: number and cells of each, see `csv_rows`.
          head: names of the columns.
          wanted: those to read, first that of the image.
          values_of: makes of the other ones' cells what is kept; raises OddRow.
        """
        places = [head.index(name) for name in wanted]
        for number, cells in lines:
            image = ""
            try:
                if len(cells) != len(head):
                    raise OddRow(COLUMNS)
                image, *values = (cells[place].strip() for place in places)
                if not image:
                    raise OddRow(NO_NAME)
                self.take(image, values_of(values))
            except OddRow as error:
                self.odd(number, image, str(error))


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields number and cells of every line that isn't empty, the head's without spaces around.

    Commas, semicolons or tabs separate columns, whichever the head has most of.

    Raises:
      UserError: the file can't be read.
    """
    text = read_text(path)
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        first = True
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells] if first else cells
                first = False
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}; is this a CSV file?") from error


def read_text(path: Path) -> str:
    """Returns what a text file holds; raises UserError if it can't be read."""
    try:
        return path.read_text("utf-8-sig")  # Windows' editors put a mark in front
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: save it as that") from error
