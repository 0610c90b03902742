"""Where the points of a scatter plot are."""

import numpy as np

from common.scatter_plot import scatter_plot


def drawn(x, y):
    return scatter_plot(np.array(x), np.array(y), (1, 5), title="t", x_label="x", y_label="y")


def test_points_are_at_their_places_and_clipped_to_the_axes():
    plain = drawn([], [])
    changed = (drawn([1.0], [5.0]) != plain).any(-1)
    rows, columns = np.nonzero(changed)
    corner = rows.mean(), columns.mean()
    rows, columns = np.nonzero((drawn([5.0], [1.0]) != plain).any(-1))
    assert rows.mean() - corner[0] == columns.mean() - corner[1] == 480
    np.testing.assert_array_equal(drawn([-7.0], [99.0]), drawn([1.0], [5.0]))


def test_where_more_points_are_it_is_darker():
    one, ten = (drawn([3.0] * n, [2.0] * n).astype(int).sum() for n in (1, 10))
    assert ten < one
