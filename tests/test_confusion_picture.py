"""Confusion matrices, by the colours of their pixels."""

import numpy as np
import pytest

from common.confusion_picture import CELL, LEFT, TOP, confusion_picture
from common.confusion_picture import _short as short


def cells_of(picture, classes):
    grid = picture[TOP:, LEFT:]
    return [
        [grid[i * CELL :, j * CELL :][:CELL, :CELL] for j in range(classes)] for i in range(classes)
    ]


def dark(picture):
    return (picture < 100).all(-1)


def test_rows_are_labels():
    """Class 0 always taken for class 1: ink at row 0, column 1 alone."""
    cells = cells_of(confusion_picture(np.array([[0, 5], [0, 0]]), ["a", "b"]), 2)
    assert (cells[0][1] < 255).mean() > 0.9
    for row, column in ((0, 0), (1, 0), (1, 1)):
        assert (cells[row][column] == 255).all()


def test_shade_is_the_share_of_the_row():
    cells = cells_of(confusion_picture(np.array([[9, 1], [900, 100]]), ["a", "b"]), 2)
    corners = [[cell[-1, -1].tolist() for cell in row] for row in cells]
    assert corners[0] == corners[1]  # however many examples a class has
    assert sum(corners[0][0]) < sum(corners[0][1]) < 3 * 255


def test_totals_stand_beside_their_rows_and_below_their_columns():
    """A class that was never predicted has a 0 below it, and the same ink as any other number."""
    empty, full = (
        confusion_picture(np.array(counts), ["a", "b"])
        for counts in ([[0, 0], [0, 0]], [[8, 0], [0, 0]])
    )
    end = 2 * CELL + 8
    changed = (empty != full).any(-1)
    inside, rows, columns, corner = (
        changed[TOP + y :, LEFT + x :][:CELL, :CELL].any()
        for x, y in ((0, 0), (end, 0), (0, end), (end, end))
    )
    assert inside and rows and columns and corner
    assert not changed[TOP:, LEFT:][CELL : 2 * CELL].any()  # the row of the other class


def test_title_unit_and_scale():
    """What is counted changes the header alone; the scale ends in the darkest and lightest ink."""
    matrix = np.array([[3, 1], [0, 4]])
    images, pixels = (confusion_picture(matrix, ["a", "b"], unit=u) for u in ("images", "pixels"))
    changed = (images != pixels).any((1, 2))
    assert changed[:44].any() and not changed[44:].any()
    other = confusion_picture(matrix, ["a", "b"], title="Another")
    changed = (images != other).any((1, 2))
    assert changed[:24].any() and not changed[26:].any()
    bar = images[TOP:, LEFT + 2 * CELL + 48 + 24 :][:120, 2:12]
    assert bar[1].sum() < bar[60].sum() < bar[118].sum()
    np.testing.assert_allclose(bar[2, 4], [20, 60, 140], atol=8)


@pytest.mark.parametrize("classes", [1, 30, 31, 1000, 2000])
def test_any_size(classes):
    picture = confusion_picture(np.eye(classes, dtype=int), [str(i) for i in range(classes)])
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert max(picture.shape) <= 2300
    left, top, cell = (LEFT, TOP, CELL) if classes <= 30 else (8, 52, max(1, 1024 // classes))
    last = (classes - 1) * cell
    assert picture[top + last, left + last].sum() < 3 * 255  # the diagonal ends in the corner


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0"), (9999, "9999"), (10_000, "10k"), (999_400, "999k"), (999_600, "1.0M")),
        *((1_250_000, "1.2M"), (34_000_000_000, "34G")),
    ],
)
def test_counts_fit_their_cells(count, text):
    assert short(count) == text
