"""Masks within boxes as masks of the image."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from common.ops.paste import paste_masks, paste_rles

HEIGHT, WIDTH = 60, 90


def inside(box, height=HEIGHT, width=WIDTH):
    """Pixels whose centres are in a box."""
    y, x = np.mgrid[:height, :width] + 0.5
    return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])


@pytest.mark.parametrize(
    "box",
    [
        (10, 20, 40, 50),
        (10.3, 20.7, 40.2, 50.6),
        (-20, -5, 30, 12.5),  # beyond the corner
        (70, 40, 200, 300),
        (0, 0, WIDTH, HEIGHT),
        (5, 5, 6, 6),
        (5.6, 5.6, 6.4, 6.4),  # no centre in it
        (95, 10, 99, 20),  # beside the image
    ],
)
def test_a_full_mask_is_its_box(box):
    masks, boxes = np.ones((1, 28, 28), np.float32), np.array([box])
    (pasted,) = paste_masks(masks, boxes, HEIGHT, WIDTH)
    np.testing.assert_array_equal(pasted, inside(box))


@pytest.mark.parametrize("box", [(7, 3, 83, 57), (20.4, 10.2, 50.7, 55.5)])
def test_a_downsampled_ellipse_returns(box):
    y, x = (np.mgrid[:280, :280] + 0.5) / 140 - 1
    small = (np.hypot(x, y) <= 1).reshape(28, 10, 28, 10).mean((1, 3), dtype=np.float32)
    (pasted,) = paste_masks(small[None], np.array([box]), HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    across, along = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    ellipse = np.hypot((x - box[0]) / across - 1, (y - box[1]) / along - 1) <= 1
    assert (pasted & ellipse).sum() / (pasted | ellipse).sum() > 0.95


def test_values_are_bilinear_between_the_cells_centres():
    """Cells 0 and 1 over 40 pixels: their centres are at 10 and 30, and a half at 20."""
    mask = np.array([[0, 1], [0, 1]], np.float32)
    for threshold, first in ((0.5, 20), (0.25, 15), (0.875, 27)):
        (pasted,) = paste_masks(mask[None], np.array([[0, 0, 40, 40]]), 40, 40, threshold)
        assert np.flatnonzero(pasted[7]).tolist() == list(range(first, 40))


def test_bytes_are_probabilities_too():
    mask, box = np.random.default_rng(0).integers(0, 256, (1, 28, 28)), np.array([[3, 4, 80, 51]])
    expected, found = (
        next(paste_masks(m, box, HEIGHT, WIDTH, 0.4)) for m in (mask / 255, mask.astype(np.uint8))
    )
    assert (expected != found).sum() <= 1  # a pixel may be at the threshold


def test_runs_are_those_of_the_whole_masks():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-10, 80, (12, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 70, (12, 2))])
    boxes[0] = 0, 0, WIDTH, HEIGHT  # runs go on from column to column
    masks = rng.random((12, 28, 28)).astype(np.float32)
    masks[0, :, 5:9] = 1
    pasted = list(paste_masks(masks, boxes, HEIGHT, WIDTH))
    for mask, rle in zip(pasted, paste_rles(masks, boxes, HEIGHT, WIDTH), strict=True):
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": [HEIGHT, WIDTH], "counts": expected["counts"].decode()}
    assert any(mask.any() for mask in pasted[1:])
