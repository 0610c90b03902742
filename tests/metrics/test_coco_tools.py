"""Masks in every form that COCO's files have."""

import numpy as np
import pytest

from common.coco_tools import decoded_mask
from common.data.rle import encode_rle
from common.ops.paste import paste_rles

EXPECTED = np.zeros((6, 9), np.uint8)
EXPECTED[1:4, 2:7] = 1


@pytest.mark.parametrize(
    "segmentation",
    [
        [[2, 1, 7, 1, 7, 4, 2, 4]],
        [[2, 1, 4, 1, 4, 4, 2, 4], [4, 1, 7, 1, 7, 4, 4, 4]],
        encode_rle(EXPECTED),
        paste_rles(np.ones((1, 28, 28)), np.array([[2, 1, 7, 4]]), 6, 9)[0],
    ],
    ids=["polygon", "polygons", "numbers", "string"],
)
def test_every_form_is_read(segmentation):
    np.testing.assert_array_equal(decoded_mask(segmentation, 6, 9), EXPECTED)
