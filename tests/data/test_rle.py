"""Compressed run lengths and outlines, compared with pycocotools."""

import sys

import numpy as np
import pytest
from pycocotools import mask as coco

from common.data.rle import decode_rle, encode_rle, run_lengths, segmentation_mask
from common.errors import UserError


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (60, 300), (2000, 700)])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 1.0])
def test_compressed_runs_as_pycocotools_writes_them(shape, share):
    mask = np.random.RandomState(0).rand(*shape) < share
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert run_lengths(encoded["counts"]).tolist() == encode_rle(mask)["counts"]
    text = {"counts": encoded["counts"].decode(), "size": encoded["size"]}
    assert (decode_rle(text) == mask).all()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("abc", "compressed string of run lengths breaks off"),
        ("0 1", "characters that none has"),
        ("0é1", "characters that none has"),
        ("o" * 12 + "1", "more than 60 bits"),
        ("31", "runs of 4 pixels are no mask of 3x2"),
        ("", "runs of 0 pixels"),
    ],
)
def test_strings_that_are_no_runs(counts, message):
    with pytest.raises(UserError, match=message):
        decode_rle({"counts": counts, "size": [2, 3]})


def test_outlines():
    square, other = [1, 1, 4, 1, 4, 3, 1, 3], [3, 2, 6, 2, 6, 5, 3, 5]
    mask = segmentation_mask([square, other], 6, 8)
    expected = np.zeros((6, 8), bool)
    expected[1:3, 1:4] = expected[2:5, 3:6] = True
    assert mask.dtype == bool and (mask == expected).all()
    assert (segmentation_mask(encode_rle(expected), 6, 8) == expected).all()
    beyond = segmentation_mask([[-4, -4, 3, -4, 3, 20, -4, 20]], 6, 8)
    assert beyond[:, :3].all() and not beyond[:, 3:].any()


def test_outlines_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(
        UserError, match=r"need pycocotools: pip install 'multi-axis-jax\[detection\]'"
    ):
        segmentation_mask([[0, 0, 1, 0, 1, 1]], 4, 4)
    assert segmentation_mask({"counts": "6", "size": [2, 3]}, 2, 3).shape == (2, 3)
