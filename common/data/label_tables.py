"""CSV files with the labels of images: several of them, or none.

Either `image,labels` with names between semicolons or bars (`a.jpg,cat;dog`), or a column of 0 and
1 per class. What can't be used is left out and named by kind.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.csv_rows import OddRow, Rows, csv_rows
from common.errors import UserError, did_you_mean

NOT_BINARY = "value that is neither 0 nor 1"
UNKNOWN_LABEL = "row with a label that config.data.class_names lacks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelTable:
    """What can be used of a table.

    Attributes:
      where: the file, for messages.
      images: as the table calls them.
      class_names: of the classes.
      labels: bool `[images, classes]`.
      problems: kind of fault -> the rows that it cost, such as "line 7 (a.jpg)".
    """

    where: str
    images: Sequence[str]
    class_names: Sequence[str]
    labels: np.ndarray
    problems: dict[str, list[str]]


def read_label_csv(
    path: Path,
    *,
    image_column: str = "image",
    label_column: str = "labels",
    class_names: Sequence[str] = (),
) -> LabelTable:
    """Reads a CSV file with a head; commas, semicolons or tabs separate its columns.

    Args:
      path: of the file.
      image_column: has the path or name of the image.
      label_column: has the names of its labels; a file without that column has one per class.
      class_names: of the classes, in their order; (): all that are found, sorted, or the columns.

    Raises:
      UserError: the file can't be read, or has no such columns or no labels.
    """
    lines = csv_rows(path)
    _, head = next(lines, (1, []))
    for name in (image_column, label_column):
        if head.count(name) > 1:
            raise UserError(f"{path} has {head.count(name)} columns {name!r}; rename all but one")
    if image_column not in head:
        hint = did_you_mean(image_column, filter(None, head))
        raise UserError(
            f"{path} has no column {image_column!r}; it needs the images under this name or that"
            f" of config.data.image_column: {hint}"
        )
    rows = Rows()
    if label_column in head:
        rows.take_all(lines, head, [image_column, label_column], _names)
        found = sorted({name for names in rows.values for name in names})
        names = [*(class_names or found)]
        _require_some(path, names)
        if unknown := set(found) - set(names):
            _leave_out(rows, unknown)
        place = {name: i for i, name in enumerate(names)}
        labels = np.zeros((len(rows.images), len(names)), bool)
        for i, given in enumerate(rows.values):
            labels[i, [place[name] for name in given]] = True
    else:
        names = [*(class_names or (name for name in head if name != image_column))]
        _require_some(path, names)
        for name in names:
            if head.count(name) != 1:
                hint = did_you_mean(name, filter(None, head))
                raise UserError(f"{path} has {head.count(name)} columns {name!r}, not one: {hint}")
        rows.take_all(lines, head, [image_column, *names], _bits)
        if not rows.images and NOT_BINARY in rows.problems:
            raise UserError(
                f"{path} has no column {label_column!r}, so that {', '.join(names[:3])} would be"
                " classes with 0 or 1, but no row has these; config.data.label_column names another"
            )
        labels = np.array(rows.values, bool).reshape(-1, len(names))
    return LabelTable(
        where=str(path),
        images=rows.images,
        class_names=names,
        labels=labels,
        problems=rows.problems,
    )


def _names(cells: Sequence[str]) -> list[str]:
    (cell,) = cells
    return [name for text in re.split("[;|]", cell) if (name := text.strip())]


def _bits(cells: Sequence[str]) -> list[bool]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        raise OddRow(NOT_BINARY) from None
    if not set(values) <= {0.0, 1.0}:
        raise OddRow(NOT_BINARY)
    return [value == 1 for value in values]


def _leave_out(rows: Rows, unknown: set[str]) -> None:
    """Drops rows with labels that are not to be learned: as negatives they would be wrong."""
    kept = [i for i, names in enumerate(rows.values) if not unknown & set(names)]
    lost = sorted({*range(len(rows.images))} - {*kept})
    rows.problems.setdefault(UNKNOWN_LABEL, []).extend(rows.images[i] for i in lost)
    rows.images, rows.values = ([values[i] for i in kept] for values in (rows.images, rows.values))


def _require_some(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise UserError(
            f"{path} has no labels: give a column of names, or one of 0 and 1 per class"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: class {twice[0]!r} is there {names.count(twice[0])} times")
