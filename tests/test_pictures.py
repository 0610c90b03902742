"""Contact sheets, overlays and plots, by the colours of their pixels."""

import numpy as np
import pytest

from common.confusion_picture import confusion_picture
from common.line_plot import curve_plot
from common.pictures import (
    CAPTION_HEIGHT,
    box_overlay,
    captioned_sheet,
    comparison_sheet,
    dot_plot,
)


def red(picture):
    r, g, b = np.moveaxis(picture.astype(int), -1, 0)
    return (r > 150) & (g < 100) & (b < 100)


def test_sheet_is_near_square_and_shows_the_images_in_order():
    shades = np.arange(5, dtype=np.uint8) * 40
    images = np.broadcast_to(shades[:, None, None, None], (5, 8, 8, 3))
    sheet = captioned_sheet(images, list("abcde"), side=64)
    cell_height, cell_width = 64 + CAPTION_HEIGHT + 4, 64 + 4
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * cell_height, 3 * cell_width, 3)
    for i, shade in enumerate(shades):
        row, column = divmod(i, 3)
        image = sheet[row * cell_height + 2 :, column * cell_width + 2 :][:64, :64]
        assert (image == shade).all()
    assert (sheet[cell_height:, 2 * cell_width :] == 255).all()  # the sixth place is empty


@pytest.mark.parametrize("height_width", [(4, 16), (300, 150)])
def test_longer_side_is_scaled(height_width):
    height, width = height_width
    sheet = captioned_sheet(np.zeros((1, height, width, 3), np.uint8), [""], side=32)
    scale = 32 / max(height, width)
    expected = (round(height * scale) + CAPTION_HEIGHT + 4, round(width * scale) + 4, 3)
    assert sheet.shape == expected


def test_small_images_are_not_smoothed():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = 255
    pixels = captioned_sheet(image, [""], side=32)[2:34, 2:34]
    assert (pixels[:16, :16] == 255).all() and (np.delete(pixels, range(16), 0) == 0).all()


def test_wrong_predictions_are_red_without_the_mark():
    images = np.full((2, 8, 8, 3), 255, np.uint8)
    sheet = captioned_sheet(images, ["cat", "!cat"], side=64)
    right, wrong = np.split(sheet, 2, axis=1)
    assert not red(right).any() and (right < 100).all(-1).any()
    assert red(wrong).any() and not (wrong < 100).all(-1).any()
    # The same letters, so the same number of inked columns.
    inked = [(part < 200).any((0, 2)).sum() for part in (right, wrong)]
    assert inked[0] == inked[1]


def test_long_captions_stay_in_their_cell():
    images = np.full((2, 8, 8, 3), 255, np.uint8)
    sheet = captioned_sheet(images, ["!" + "w" * 200, "b"], side=64)
    left, right = np.split(sheet, 2, axis=1)
    assert red(left).any() and not red(right).any()


def test_comparison_rows_hold_images_of_any_size():
    dark, light = np.full((8, 16, 3), 40, np.uint8), np.full((300, 150, 3), 200, np.uint8)
    sheet = comparison_sheet(
        [[dark, light], [dark, dark, dark]], [["a", "!b"], ["", "", ""]], side=64
    )
    first, second, cell = 64 + CAPTION_HEIGHT + 4, 32 + CAPTION_HEIGHT + 4, 64 + 4
    assert sheet.dtype == np.uint8
    assert sheet.shape == (first + second, 3 * cell, 3)
    assert (sheet[2:34, 2:66] == 40).all()
    assert (sheet[2:66, cell + 2 : cell + 34] == 200).all()
    assert (sheet[:first, 2 * cell :] == 255).all()  # the first row has two images
    for column in range(3):
        assert (sheet[first + 2 : first + 34, column * cell + 2 :][:, :64] == 40).all()
    left, right = sheet[66:first, :cell], sheet[66:first, cell : 2 * cell]
    assert red(right).any() and not red(left).any()


def test_comparison_of_the_thinnest_images():
    thin = np.zeros((1, 5000, 3), np.uint8)
    assert comparison_sheet([[thin]], [["thin"]], side=64).shape == (1 + CAPTION_HEIGHT + 4, 68, 3)


@pytest.mark.parametrize("captions", [[], [["a"]], [["a", "b"], ["c"]]])
def test_every_compared_image_needs_a_caption(captions):
    with pytest.raises(ValueError, match="zip"):
        comparison_sheet([[np.zeros((8, 8, 3), np.uint8)] * 2], captions)


def test_dot_plot_shows_means_on_one_scale():
    """Values 90 and 96 to 100 give a scale of 90 to 100 with ticks every 5."""
    values = {"one": [90.0], "two": [96.0, 100.0], "none": [], "three": [100.0]}
    picture = dot_plot(values, title="accuracy")
    bars = red(picture)
    rows = np.flatnonzero(bars.any(axis=1))
    first, second, third = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    left, middle, right = (
        np.flatnonzero(bars[r].any(axis=0)).mean() for r in (first, second, third)
    )
    assert middle - left == pytest.approx(0.8 * (right - left), abs=1)
    ticks = np.flatnonzero((picture[first[0] - 3] == 220).all(axis=-1))
    np.testing.assert_allclose(np.diff(ticks), (right - left) / 2, atol=1)


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [-1e-9, 1e9]])
def test_dot_plot_scales_whatever_comes(values):
    assert dot_plot({"x": values}, title="").dtype == np.uint8


def test_dot_plot_needs_a_number():
    with pytest.raises(ValueError):
        dot_plot({"x": []}, title="")


PALETTE = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)


def test_boxes_are_drawn_where_they_are():
    image = np.full((200, 300, 3), 90, np.uint8)
    drawn = box_overlay(image, np.array([[50, 60, 151, 161]]), [0], ["cat"], PALETTE)
    assert drawn.shape == image.shape and (image == 90).all()
    box = drawn[60:161, 50:151]
    assert all((side == PALETTE[0]).all() for side in (box[0], box[-1], box[:, 0], box[:, -1]))
    assert (box[2:-2, 2:-2] == 90).all()
    outside = drawn.copy()
    outside[40:161, 50:151] = 90  # the box, and its name above
    assert (outside == 90).all()
    assert (drawn[40:60, 50:90, 1] > 150).any()  # white on red


def test_masks_are_translucent():
    image = np.full((100, 100, 3), 90, np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    box = np.array([[40, 40, 60, 60]])
    drawn = box_overlay(image, box, [1], ["cat", "dog"], PALETTE, masks=[mask])
    assert drawn[50, 50].tolist() == [45, 170, 45]
    assert (drawn[70:] == 90).all()


def test_the_best_box_is_on_top():
    image, boxes = np.zeros((100, 100, 3), np.uint8), np.array([[20, 40, 80, 90]] * 2)
    for scores, top in (([0.9, 0.3], 0), ([0.3, 0.9], 1)):
        drawn = box_overlay(image, boxes, [0, 1], ["", ""], PALETTE, scores=scores)
        assert (drawn[89, 20:80] == PALETTE[top]).all()


@pytest.mark.parametrize(
    "box",
    [[0, 0, 8, 8], [292, 0, 300, 8], [0, 192, 8, 200], [292, 192, 300, 200], [0, 0, 300, 200]],
)
def test_names_are_not_cut_off(box):
    """As much of the name is seen at every border as in the middle."""
    image = np.full((200, 300, 3), 90, np.uint8)

    def ink(box):
        return (box_overlay(image, np.array([box]), [0], ["cat"], PALETTE)[..., 1] > 150).sum()

    assert ink(box) == ink([100, 100, 108, 108]) > 0


def test_names_keep_clear_of_each_other():
    image = np.full((200, 300, 3), 90, np.uint8)

    def tagged(boxes):
        drawn = box_overlay(image, np.array(boxes), [0, 0], ["cat"], PALETTE)
        return (drawn[..., 1] > 150).sum()  # white on red

    apart = tagged([[50, 60, 150, 160], [170, 60, 270, 160]])
    assert tagged([[50, 60, 150, 160], [50, 60, 150, 160]]) == apart


def test_lines_grow_with_the_image():
    widths = []
    for side in (300, 1200):
        image, box = np.zeros((side, side, 3), np.uint8), np.array([[0, 0, side, side]])
        drawn = box_overlay(image, box, [0], [""], PALETTE)
        widths.append((drawn[-40:, side // 2] == PALETTE[0]).all(-1).sum())
    assert widths == [1, 4]


@pytest.mark.parametrize("name", ["two\nlines", "caf\udce9", "x" * 1_000_000])
def test_any_name_is_drawn_in_one_line(name):
    image, half = np.zeros((20, 20, 3), np.uint8), np.full(5, 0.5)
    labels = {"title": "", "x_label": "", "y_label": ""}
    assert captioned_sheet(image[None], [name]).min() == 0
    assert box_overlay(image, np.array([[2, 2, 9, 9]]), [0], [name], PALETTE).any()
    assert curve_plot({name: half}, PALETTE[:1], **labels).any()
    assert dot_plot({name: [1.0]}, title="").any()
    assert confusion_picture(np.eye(1, dtype=int), [name]).any()
