"""Where the points of lines and curves are."""

import numpy as np

from common.line_plot import curve_plot, line_plot

PALETTE = np.array([[250, 0, 0], [0, 0, 250]], np.uint8)


def drawn(lines):
    palette = PALETTE[: len(lines)]
    return line_plot(lines, palette, title="t", x_label="side", y_label="s").astype(int)


def test_equal_ratios_are_equal_distances():
    picture = drawn({"a": [(4, 100), (1, 1), (2, 10)]})[:, :464]
    red = picture[..., 0] - picture[..., 2] > 120
    columns = np.flatnonzero(red.any(0))
    low, middle, high = (
        np.flatnonzero(red[:, column]).mean()
        for column in (columns[0], (columns[0] + columns[-1]) // 2, columns[-1])
    )
    assert low > middle > high  # up, whatever order the points came in
    np.testing.assert_allclose(middle, (low + high) / 2, atol=2)


def test_one_point_and_a_name_without_any():
    picture = drawn({"one": [(224, 0.5)], "none": []})
    plot = picture[:, :464]
    assert (plot[..., 0] - plot[..., 2] > 120).any()
    assert not (plot[..., 2] - plot[..., 0] > 120).any()
    assert (picture[..., 2] - picture[..., 0] > 120).any()  # in the legend


def test_curves_are_where_their_values_are():
    curves = {"high": np.full(101, 0.9), "low": np.full(101, 0.25)}
    picture = curve_plot(curves, PALETTE, title="t", x_label="recall", y_label="precision")
    column = picture[:, 200].astype(int)
    grid = np.flatnonzero((column == 220).all(-1))
    top, bottom = grid.min(), grid.max()
    places = [np.flatnonzero(column[:, c] - column[:, 2 - c] > 60).mean() for c in (0, 2)]
    heights = (bottom - np.array(places)) / (bottom - top)
    np.testing.assert_allclose(heights, [0.9, 0.25], atol=0.01)


def test_a_curve_of_unknown_values_stays_empty():
    picture = curve_plot(
        {"none": np.full(5, np.nan)}, PALETTE[:1], title="", x_label="", y_label=""
    )
    plot = picture[:, :464].astype(int)
    assert not (plot[..., 0] - plot[..., 2] > 120).any()
