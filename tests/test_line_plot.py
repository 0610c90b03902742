"""Where the points of lines on logarithmic axes are."""

import numpy as np

from common.line_plot import line_plot

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
