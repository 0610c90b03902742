"""Tables of what people think of images: AVA's list, and CSV files with counts or moments.

What can't be used is left out and named by kind; a row that is odd costs no other.
"""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.data.score_distributions import from_moments, std_bounds
from common.errors import UserError, did_you_mean

COLUMNS = "row with another number of columns"
NO_NAME = "row without an image"
NOT_A_NUMBER = "value that is no finite number"
NEGATIVE = "negative count"
NO_VOTES = "row whose counts are all zero"
OUTSIDE = "mean outside the scores"
NEGATIVE_STD = "negative standard deviation"
TWICE = "image listed again"

AVA_SCORES = tuple(map(float, range(1, 11)))
_AVA_COUNTS = slice(2, 12)  # columns; before them index and image, then two tags and a challenge
_AVA_COLUMNS = 15
_NAMED = 5  # columns that a message lists
_SLACK = 0.005  # of the bounds of a deviation, which tables round


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """What can be used of a table.

    Attributes:
      where: the file, for messages.
      images: as the table calls them.
      distributions: float64 `[images, scores]`, each with the sum 1.
      problems: kind of fault -> the rows that it cost, such as "line 7 (a.jpg)".
      notes: what else there is to say.
    """

    where: str
    images: Sequence[str]
    distributions: np.ndarray
    problems: dict[str, list[str]]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """Names of a CSV file's columns.

    Attributes:
      image: path of the image, below the folder of images.
      counts: votes for each score, in their order; none: `c1`, `c2` .. or `1`, `2` .., by the
        scores' values.
      mean: mean score, for files without counts.
      std: standard deviation of the scores, likewise.
    """

    image: str = "image"
    counts: tuple[str, ...] = ()
    mean: str = "mean"
    std: str = "std"


class _Odd(ValueError):
    """A row that can't be used; its text is the kind of fault."""


class _Rows:
    """Collects rows, and the faults of others."""

    def __init__(self):
        self.images: list[str] = []
        self.values: list[list[float]] = []
        self.problems: dict[str, list[str]] = {}
        self._seen: set[str] = set()

    def take(self, image: str, values: list[float]) -> None:
        if image in self._seen:
            raise _Odd(TWICE)
        self._seen.add(image)
        self.images.append(image)
        self.values.append(values)

    def odd(self, line: int, image: str, kind: str) -> None:
        named = f"line {line} ({image})" if image else f"line {line}"
        self.problems.setdefault(kind, []).append(named)


def read_ava(path: Path) -> ScoreTable:
    """Reads AVA.txt: index, image id, ten counts for 1 to 10, two tags, a challenge.

    Raises:
      UserError: the file can't be read.
    """
    rows = _Rows()
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not (cells := line.split()):
            continue
        image = cells[1] if len(cells) > 1 else ""
        try:
            if len(cells) != _AVA_COLUMNS:
                raise _Odd(COLUMNS)
            rows.take(image, _counts(cells[_AVA_COUNTS]))
        except _Odd as error:
            rows.odd(number, image, str(error))
    return _of_counts(path, rows, AVA_SCORES)


def read_score_csv(path: Path, scores: Sequence[float], columns: ScoreColumns) -> ScoreTable:
    """Reads a CSV file with a head: `image` and a count per score, or `image`, `mean` and `std`.

    Where it has both, counts are read. Of means and deviations the distribution of largest entropy
    is made (`common.data.score_distributions.from_moments`): the mean is met, the deviation too,
    if any distribution over the scores can have it. Commas, semicolons or tabs separate columns.

    Args:
      path: of the file.
      scores: what the counts are for.
      columns: their names.

    Raises:
      UserError: the file can't be read, or has no such columns.
    """
    lines = _csv_rows(path)
    _, head = next(lines, (1, []))
    counts = _count_columns(path, head, scores, columns)
    wanted = [columns.image, *(counts or (columns.mean, columns.std))]
    for name in wanted:
        _require_column(path, head, name, scores)
    places = [head.index(name) for name in wanted]
    rows = _Rows()
    for number, cells in lines:
        image = ""
        try:
            if len(cells) != len(head):
                raise _Odd(COLUMNS)
            image, *values = (cells[place].strip() for place in places)
            if not image:
                raise _Odd(NO_NAME)
            rows.take(image, _counts(values) if counts else _moments(values, scores))
        except _Odd as error:
            rows.odd(number, image, str(error))
    unread = [name for name in head if name not in wanted]
    more = ", ..." if len(unread) > _NAMED else ""
    notes = [f"columns not read: {', '.join(unread[:_NAMED])}{more}"] if unread else []
    return (_of_counts if counts else _of_moments)(path, rows, scores, notes)


def _of_counts(
    path: Path, rows: _Rows, scores: Sequence[float], notes: Sequence[str] = ()
) -> ScoreTable:
    counts = np.array(rows.values, np.float64).reshape(-1, len(scores))
    counts /= counts.max(-1, keepdims=True)  # their sum may be no finite number
    distributions = counts / counts.sum(-1, keepdims=True)
    return ScoreTable(
        where=str(path),
        images=rows.images,
        distributions=distributions,
        problems=rows.problems,
        notes=notes,
    )


def _of_moments(path: Path, rows: _Rows, scores: Sequence[float], notes: list[str]) -> ScoreTable:
    mean, std = np.array(rows.values, np.float64).reshape(-1, 2).T
    least, largest = std_bounds(mean, scores)
    beyond = int(((std < least - _SLACK) | (std > largest + _SLACK)).sum())
    if beyond:
        what = "deviations that no distribution over the scores has, the nearest is taken"
        notes = [*notes, f"{beyond:,} {what}"]
    return ScoreTable(
        where=str(path),
        images=rows.images,
        distributions=from_moments(mean, std, scores),
        problems=rows.problems,
        notes=notes,
    )


def _counts(cells: Sequence[str]) -> list[float]:
    counts = [_number(cell) for cell in cells]
    if min(counts) < 0:
        raise _Odd(NEGATIVE)
    if not any(counts):
        raise _Odd(NO_VOTES)
    return counts


def _moments(cells: Sequence[str], scores: Sequence[float]) -> list[float]:
    mean, std = (_number(cell) for cell in cells)
    if not scores[0] <= mean <= scores[-1]:
        raise _Odd(OUTSIDE)
    if std < 0:
        raise _Odd(NEGATIVE_STD)
    return [mean, std]


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise _Odd(NOT_A_NUMBER) from None
    if not math.isfinite(value):
        raise _Odd(NOT_A_NUMBER)
    return value


def _count_columns(
    path: Path, head: Sequence[str], scores: Sequence[float], columns: ScoreColumns
) -> tuple[str, ...]:
    """Names of the columns with counts; none where there are moments instead."""
    if columns.counts:
        return columns.counts
    for start in ("c", ""):
        names = tuple(f"{start}{score:g}" for score in scores)
        found = [name for name in head if re.fullmatch(rf"{start}-?\d+(\.\d+)?", name)]
        if set(found) == set(names):
            return names
        if found and not {columns.mean, columns.std} <= set(head):
            raise UserError(
                f"{path} has counts in {len(found)} columns {found[0]} .. {found[-1]}, but there"
                f" are {len(names)} scores {scores[0]:g} .. {scores[-1]:g}: set config.data.scores"
                " to those of the file, or name its columns in config.data.count_columns"
            )
    return ()


def _require_column(path: Path, head: Sequence[str], name: str, scores: Sequence[float]) -> None:
    """Raises UserError unless the head has the column once."""
    times = head.count(name)
    if times == 1:
        return
    if times:
        raise UserError(f"{path} has {times} columns {name!r}; rename all but one")
    first, last = (f"{score:g}" for score in (scores[0], scores[-1]))
    raise UserError(
        f"{path} has no column {name!r}; it needs an image and counts (c{first} .. c{last} or"
        f" {first} .. {last}), or an image, mean and std, under these names or those that"
        f" config.data.image_column and such say: {did_you_mean(name, filter(None, head))}"
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that isn't empty."""
    text = _text(path)
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


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # Windows' editors put a mark in front
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: save it as that") from error
