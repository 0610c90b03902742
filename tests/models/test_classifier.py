"""What people give a `Classifier`: taken, or one line before the network sees it."""

import io

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from maxvit_jax.data_defaults import DataDefaults
from maxvit_jax.inference import Classifier

BYTES = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
DATA = DataDefaults(image_size=8, eval_method="resize", mean=(0,) * 3, std=(255,) * 3)


class Mean:
    """The mean of each color."""

    num_classes = in_channels = 3

    def apply(self, variables, images, train):
        assert not train
        return 9 * images.mean((1, 2))


@pytest.fixture(scope="module")
def classifier():
    return Classifier(Mean(), {}, DATA, batch_size=1)


def test_taken(classifier):
    """Bytes of 8 or 16 bits in any order, gray, with alpha, lists of them, images of Pillow."""
    expected = classifier(BYTES)
    opaque = np.dstack([BYTES, np.full((9, 7), 255, np.uint8)])
    for same in (np.uint16(BYTES) * 257, (np.uint16(BYTES) * 257).astype(">u2"), opaque):
        np.testing.assert_array_equal(classifier(same), expected)
    np.testing.assert_array_equal(classifier([BYTES, Image.fromarray(BYTES)]), [expected] * 2)
    gray = classifier(BYTES[..., 0])
    np.testing.assert_array_equal(classifier(BYTES[..., :1]), gray)
    np.testing.assert_allclose(gray, [1 / 3] * 3, atol=1e-6)
    assert classifier([]).shape == (0, 3)


@pytest.mark.parametrize(
    "images, message",
    [
        (BYTES / 255, "pixels of type float64: uint8"),
        (np.where(BYTES > 9, np.nan, 0), "pixels of type float64"),
        (np.float32(BYTES), "pixels of type float32"),
        (BYTES > 9, "pixels of type bool"),
        (BYTES.tolist(), "pixels of type int64"),
        (np.moveaxis(BYTES, -1, 0), r"shape \(3, 9, 7\) are not an image: .height, width"),
        (BYTES[:0], r"shape \(0, 7, 3\) are not an image"),
        (BYTES[None, None], r"shape \(1, 9, 7, 3\) are not an image"),
        ([BYTES, BYTES / 255], "pixels of type float64"),
        ([[[1, 2], [3]]], "a list is no image: give uint8"),
        (None, "a NoneType is no image: give uint8"),
        ({"image": BYTES}, "a dict is no image"),
        (iter([BYTES]), "is no image"),
        (io.BytesIO(b"x"), "a BytesIO is no image: .* or an image file or its content"),
        (b"no photo", "can't classify what is no image: not an image of a known format"),
        (Image.fromarray(np.float32(BYTES[..., 0])), "unsupported pixel type 'F'"),
    ],
    ids=range(16),
)
def test_refused(classifier, images, message):
    with pytest.raises(UserError, match=message):
        classifier(images)


def test_files(classifier, tmp_path):
    Image.fromarray(BYTES).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(classifier(tmp_path / "photo.png"), classifier(BYTES))
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        classifier(tmp_path / "none.png")
