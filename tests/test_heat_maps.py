"""Maps of values over photos, by the colours of their pixels."""

import numpy as np

from common.heat_maps import (
    enlarged,
    heat_colors,
    heat_figure,
    heat_overlay,
    marked,
    relative,
    signed_picture,
)


def test_colors_get_lighter():
    colors = heat_colors(np.linspace(0, 1, 11)[None])[0].astype(int)
    brightness = colors @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > 0).all()
    assert colors[-1, 0] > 200 > 100 > colors[-1, 2]  # yellow, not its mirror in BGR
    np.testing.assert_array_equal(heat_colors(np.array([[-1.0, 2.0]]))[0], colors[[0, -1]])


def test_overlay_puts_values_where_they_are():
    photo = np.full((8, 12, 3), 100, np.uint8)
    values = np.zeros((2, 3))
    values[1, 2] = 1
    blocks = heat_overlay(photo, values, smooth=False).astype(int)
    hot = blocks[..., 1] > blocks[0, 0, 1]
    assert hot[4:, 8:].all() and hot.sum() == 16
    smooth = heat_overlay(photo, values, smooth=True).astype(int)[..., 1]
    assert smooth[-1, -1] == smooth.max() and smooth[0, 0] == smooth.min()
    assert len(np.unique(smooth)) > 5


def test_relative_values():
    np.testing.assert_array_equal(relative(np.array([0.0, 1.0, 4.0])), [0, 0.25, 1])
    assert not relative(np.zeros(3)).any()


def test_signed_picture():
    change = np.array([-1.0, -0.1, 0.0, 0.1, 1.0]).reshape(1, 5, 1).repeat(3, 2)
    assert signed_picture(change, 0.2)[0, :, 0].tolist() == [0, 64, 128, 191, 255]


def test_cross_is_at_its_pixel():
    crossed = marked(np.zeros((48, 48, 3), np.uint8), (30, 10))
    rows, columns = np.nonzero(crossed.any(-1))
    assert abs(rows.mean() - 30) < 1 and abs(columns.mean() - 10) < 1
    assert crossed[30, 10, 0] == 255 and crossed[30, 10, 1] < 100  # red on white


def test_figure_has_its_scale_below():
    picture = np.full((10, 20, 3), 50, np.uint8)
    figure = heat_figure(
        [[picture, picture], [picture]], [["a", "b"], ["c"]], ("0", "much"), side=80
    )
    assert figure.dtype == np.uint8 and figure.shape[1] >= 2 * 84
    bar = figure[-12]
    assert (bar == heat_colors(np.ones((1, 1)))[0, 0]).all(-1).any()
    assert (figure[2:42, 2:82] == 50).all()


def test_enlarged_by_whole_factors():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarged(image, 5)
    assert large.shape == (6, 6, 3) and (large[:3, 3:] == image[0, 1]).all()
    assert enlarged(large, 4) is large or (enlarged(large, 4) == large).all()
