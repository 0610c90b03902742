"""Training images from files: those of their pixels, decoded coarsely where it hardly shows."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from common.data.augment import RandAugment
from common.data.augment_increasing import IncreasingRandAugment
from common.data.image_transform import TrainTransform
from common.data.images import decode

PHOTO = photos.coffee()  # 400 x 600
FIELDS = {"size": (48, 64), "crop": "inception", "min_area": 0.5, "interpolation": "bicubic"}


def transformed(image, seed=0, **fields):
    fields = FIELDS | {"flip": True, "shift": 0, "randaugment": None} | fields
    example = {"image": image, "name": "x"}
    return TrainTransform(**fields)(example, np.random.default_rng(seed))["image"]


def file_of(image, kind="JPEG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, quality=95)
    return stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"crop": "random_resized"},
        {"interpolation": "legacy_bicubic"},
        {"shift": 3},
        {"randaugment": RandAugment(2, 9)},
        {"randaugment": IncreasingRandAugment(probability=1.0)},
        {"channels": 1, "randaugment": RandAugment(1, 9)},
        {"channels": 4},
    ],
)
def test_files_give_what_their_pixels_give(fields):
    """Pillow's images and arrays go different ways: crops, resizes, flips, operations."""
    small = file_of(PHOTO[:90, :120])
    for seed in range(8):
        image = transformed(small, seed, **fields)
        channels = fields.get("channels", 3)
        assert image.shape == (48, 64, channels) and image.dtype == np.uint8
        assert image.flags.c_contiguous
        pixels = decode(small, channels=channels)
        np.testing.assert_array_equal(image, transformed(pixels, seed, **fields))


def test_crops_of_large_photos_are_decoded_coarsely():
    """They show the same; what isn't antialiased is read exactly."""
    data = file_of(PHOTO)
    for seed in range(8):
        image, exact = transformed(data, seed), transformed(decode(data), seed)
        error = np.abs(image.astype(int) - exact)
        assert 0 < error.mean() < 2  # a crop half a pixel aside: 3; another crop: 30
        legacy = {"interpolation": "legacy_bicubic"}
        exact = transformed(decode(data), seed, **legacy)
        np.testing.assert_array_equal(transformed(data, seed, **legacy), exact)
        # So are crops of less than twice the size in pixels.
        fine = {"size": (224, 224)}
        exact = transformed(decode(data), seed, **fine)
        np.testing.assert_array_equal(transformed(data, seed, **fine), exact)
