"""Tables of what people think of images: AVA's list, and CSV files with counts or moments.

What can't be used is left out and named by kind; a row that is odd costs no other.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.csv_rows import COLUMNS, OddRow, Rows, csv_rows, read_text
from common.data.score_distributions import from_moments, std_bounds
from common.errors import UserError, did_you_mean

NOT_A_NUMBER = "value that is no finite number"
NEGATIVE = "negative count"
NO_VOTES = "row whose counts are all zero"
OUTSIDE = "mean outside the scores"
NEGATIVE_STD = "negative standard deviation"

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


def read_ava(path: Path) -> ScoreTable:
    """Reads AVA.txt: index, image id, ten counts for 1 to 10, two tags, a challenge.

    Raises:
      UserError: the file can't be read.
    """
    rows = Rows()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not (cells := line.split()):
            continue
        image = cells[1] if len(cells) > 1 else ""
        try:
            if len(cells) != _AVA_COLUMNS:
                raise OddRow(COLUMNS)
            rows.take(image, _counts(cells[_AVA_COUNTS]))
        except OddRow as error:
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
    lines = csv_rows(path)
    _, head = next(lines, (1, []))
    counts = _count_columns(path, head, scores, columns)
    wanted = [columns.image, *(counts or (columns.mean, columns.std))]
    for name in wanted:
        _require_column(path, head, name, scores)
    rows = Rows()
    read = _counts if counts else functools.partial(_moments, scores=scores)
    rows.take_all(lines, head, wanted, read)
    unread = [name for name in head if name not in wanted]
    more = ", ..." if len(unread) > _NAMED else ""
    notes = [f"columns not read: {', '.join(unread[:_NAMED])}{more}"] if unread else []
    return (_of_counts if counts else _of_moments)(path, rows, scores, notes)


def _of_counts(
    path: Path, rows: Rows, scores: Sequence[float], notes: Sequence[str] = ()
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


def _of_moments(path: Path, rows: Rows, scores: Sequence[float], notes: list[str]) -> ScoreTable:
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
        raise OddRow(NEGATIVE)
    if not any(counts):
        raise OddRow(NO_VOTES)
    return counts


def _moments(cells: Sequence[str], scores: Sequence[float]) -> list[float]:
    mean, std = (_number(cell) for cell in cells)
    if not scores[0] <= mean <= scores[-1]:
        raise OddRow(OUTSIDE)
    if std < 0:
        raise OddRow(NEGATIVE_STD)
    return [mean, std]


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise OddRow(NOT_A_NUMBER) from None
    if not math.isfinite(value):
        raise OddRow(NOT_A_NUMBER)
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
