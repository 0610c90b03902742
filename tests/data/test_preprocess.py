import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from common.data import preprocess
from common.errors import UserError
from tests.golden.weights import make_image

GOLDEN = Path(__file__).parents[1] / "golden" / "maxvit"
PHOTO = photos.chelsea()  # 300 x 451


def part_of(image, part):
    top, left, height, width = part
    return image[top : top + height, left : left + width]


def inception_crop(image, size, rng, **ranges):
    return part_of(image, preprocess.inception_part(*image.shape[:2], size, rng, **ranges))


def random_resized_crop(image, size, rng, **ranges):
    return part_of(image, preprocess.random_resized_part(*image.shape[:2], size, rng, **ranges))


@pytest.mark.parametrize("size", [224, 384])
def test_eval_official_golden(size):
    image = np.rint(make_image((1, 300, 400, 3), seed=3, low=0, high=255)[0]).astype(np.uint8)
    manifest = json.loads((GOLDEN / "eval_preprocess.json").read_text())["steps"][str(size)]
    crop = part_of(image, preprocess.central_part(300, 400, size))
    assert crop.shape == (manifest["crop"], manifest["crop"], 3)
    np.testing.assert_array_equal(crop[0, 0], image[manifest["oh"], manifest["ow"]])
    result = preprocess.eval_official(image, size)
    assert result.shape == (size, size, 3) and result.dtype == np.float32
    with np.load(GOLDEN / "eval_preprocess.npz") as golden:
        np.testing.assert_allclose(result[::7, ::7], golden[f"out_{size}"], rtol=0, atol=1e-3)


def test_central_crop_rounds_an_odd_margin_up():
    crop = part_of(PHOTO, preprocess.central_part(300, 451, 224))  # 451 - 262 is odd
    np.testing.assert_array_equal(crop, PHOTO[19:281, 95:357])


def test_legacy_bicubic_keeps_an_image_of_that_size():
    np.testing.assert_array_equal(preprocess.legacy_bicubic(PHOTO, PHOTO.shape[:2]), PHOTO)


def test_legacy_bicubic_samples_from_the_corner():
    column = np.arange(8, dtype=np.float32).reshape(8, 1, 1)
    halved = preprocess.legacy_bicubic(column, (4, 1))
    np.testing.assert_array_equal(halved.ravel(), [0, 2, 4, 6])  # half-pixel: 0.5, 2.5, ...


def test_central_crop_of_a_height_and_a_width():
    """Of the largest part of that aspect, 50 x 100, half: 32 / (32 + 32)."""
    rows, columns = np.mgrid[:60, :100]
    part = preprocess.central_part(60, 100, (32, 64))
    crop = part_of(np.stack([rows, columns], -1), part)
    assert crop.shape == (25, 50, 2)
    assert (crop[0, 0].tolist(), crop[-1, -1].tolist()) == ([18, 25], [42, 74])
    assert preprocess.eval_official(PHOTO, (32, 64)).shape == (32, 64, 3)


def test_eval_official_of_a_tiny_image():
    assert preprocess.eval_official(PHOTO[:1, :1], 32).shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(300, 451), (451, 300), (100, 100), (17, 900)])
@pytest.mark.parametrize("size", [224, (96, 224), (224, 96)])
def test_eval_standard_size(shape, size):
    image = np.asarray(Image.fromarray(PHOTO).resize(shape[::-1]))
    result = preprocess.eval_standard(image, size)
    assert result.shape[:2] == ((size, size) if isinstance(size, int) else size)
    assert result.dtype == np.uint8


def test_eval_standard_is_resize_then_centre_crop():
    image = np.asarray(Image.fromarray(PHOTO).resize((450, 300)))
    resized = np.asarray(Image.fromarray(image).resize((384, 256), Image.Resampling.BICUBIC))
    expected = resized[16:240, 80:304]
    np.testing.assert_array_equal(preprocess.eval_standard(image, 224, 0.875), expected)


def test_eval_standard_keeps_an_image_of_that_size():
    image = PHOTO[:224, :224]
    np.testing.assert_array_equal(preprocess.eval_standard(image, 224, 1.0), image)


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.3, 0.5)])
def test_inception_crop_ranges(area):
    rng = np.random.default_rng(0)
    boxes = [preprocess._sample_crop(300, 451, rng, area, (3 / 4, 4 / 3)) for _ in range(3000)]
    boxes = np.array([box for box in boxes if box is not None])
    top, left, height, width = boxes.T
    assert len(boxes) > 2000
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 300).all() and (left + width <= 451).all()
    share = height * width / (300 * 451)
    assert area[0] <= share.min() < area[0] + 0.02 and area[1] - 0.15 < share.max() <= area[1]
    ratio = width / height
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    assert top.min() == 0 and (top + height).max() == 300
    assert left.min() == 0 and (left + width).max() == 451


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "legacy_bicubic"])
@pytest.mark.parametrize("size", [64, (48, 80)])
def test_inception_crop_of_the_whole_image_is_a_resize(interpolation, size):
    image = PHOTO[:240, :300]
    rng = np.random.default_rng(0)
    crop = inception_crop(image, size, rng, area=(1.0, 1.0), aspect=(1.25, 1.25))
    result = preprocess.resize_part(crop, size, interpolation)
    target = (size, size) if isinstance(size, int) else size
    if interpolation == "legacy_bicubic":
        expected = np.clip(preprocess.legacy_bicubic(image, target), 0, 255)
    else:
        expected = preprocess.resize_only(image, target, interpolation)
    assert result.dtype == np.uint8 and result.shape == (*target, 3)
    assert np.abs(result - expected.astype(np.float32)).max() <= 0.5
    pillow = preprocess.resize_part(Image.fromarray(crop), size, interpolation)
    assert isinstance(pillow, Image.Image)
    np.testing.assert_array_equal(pillow, result)


def test_inception_crop_falls_back_to_the_centre():
    strip = np.concatenate([PHOTO] * 20, axis=1)[:100]  # no crop of half its area has aspect ~1
    rng = np.random.default_rng(0)
    part = preprocess.inception_part(*strip.shape[:2], 224, rng, area=(0.5, 1.0))
    assert part == preprocess.central_part(*strip.shape[:2], 224)


def test_inception_crop_of_tiny_images():
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 7), (2, 3), (8, 8)]:
        for _ in range(50):
            crop = inception_crop(PHOTO[:height, :width], 16, rng)
            assert preprocess.resize_part(crop, 16, "bicubic").shape == (16, 16, 3)


class Draws:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high):
        return self.values.pop(0)

    def integers(self, high):
        return self.values.pop(0)


def test_random_resized_crop_is_that_of_torchvision():
    """Area 0.25 and aspect 4 / 3 of 300 x 451: 212 x 159 (rounded); then top and left."""
    draws = Draws(0.25, np.log(4 / 3), 7, 40)
    assert preprocess.random_resized_part(300, 451, 32, draws) == (7, 40, 159, 212)
    assert not draws.values


def test_random_resized_crop_tries_again():
    draws = Draws(1.0, np.log(4 / 3), 1.0, np.log(3 / 4), 0.5, 0.0, 0, 3)
    assert preprocess.random_resized_part(300, 451, 32, draws) == (0, 3, 260, 260)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((60, 300), slice(60), slice(110, 190)), ((300, 60), slice(110, 190), slice(60))],
)
def test_random_resized_crop_falls_back_to_the_centre(shape, rows, columns):
    image = PHOTO[: shape[0], : shape[1]]
    rng = np.random.default_rng(0)
    crop = random_resized_crop(image, 40, rng, area=(1.0, 1.0))
    np.testing.assert_array_equal(crop, image[rows, columns])


def test_random_resized_crops_are_uniform_in_area_and_log_aspect():
    rng, area = np.random.default_rng(0), (0.1, 0.6)
    parts = [preprocess.random_resized_part(300, 300, 32, rng, area=area) for _ in range(2000)]
    _, _, height, width = np.array(parts).T
    area = height * width / 300**2
    np.testing.assert_allclose(
        np.quantile(area, [0.25, 0.5, 0.75]), [0.225, 0.35, 0.475], atol=0.02
    )
    np.testing.assert_allclose(
        np.quantile(np.log(width / height), [0.25, 0.5, 0.75]), [-0.144, 0, 0.144], atol=0.015
    )


def test_random_resized_crop_of_tiny_images():
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 7), (2, 3), (8, 8)]:
        for _ in range(50):
            crop = random_resized_crop(PHOTO[:height, :width], 16, rng)
            assert preprocess.resize_part(crop, 16, "bicubic").shape == (16, 16, 3)


def test_random_interpolation():
    rng = np.random.default_rng(0)
    drawn = [preprocess.draw_interpolation("random", rng) for _ in range(200)]
    assert 70 < drawn.count("bilinear") < 130
    assert drawn.count("bilinear") + drawn.count("bicubic") == 200
    assert preprocess.draw_interpolation("lanczos", rng) == "lanczos"


def test_a_part_of_an_image_by_fractions_of_its_pixels():
    """Of a ramp the middle of each half of the part; arrays and images alike."""
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8)[:, None], (4, 1, 3))
    box = (2.5, 1.0, 10.5, 3.0)
    found = preprocess.resize_part(ramp, (1, 2), "bilinear", box)
    np.testing.assert_array_equal(found[0, :, 0], [40, 80])
    pillow = preprocess.resize_part(Image.fromarray(ramp), (1, 2), "bilinear", box)
    np.testing.assert_array_equal(pillow, found)


def test_unknown_interpolation():
    with pytest.raises(UserError, match="did you mean 'bicubic'"):
        preprocess.resize_only(PHOTO, 8, "bicubik")


def test_flip_mirrors_about_half_of_the_images():
    rng = np.random.default_rng(0)
    flipped = [preprocess.random_flip(PHOTO, rng) for _ in range(200)]
    mirrored = sum(np.array_equal(image, PHOTO[:, ::-1]) for image in flipped)
    assert 70 < mirrored < 130
    assert mirrored + sum(np.array_equal(image, PHOTO) for image in flipped) == 200
    rng = np.random.default_rng(0)
    pillow = [preprocess.random_flip(Image.fromarray(PHOTO), rng) for _ in range(20)]
    np.testing.assert_array_equal(np.stack(pillow), np.stack(flipped[:20]))


def test_shift_moves_by_every_distance():
    image = np.zeros((5, 6, 3), np.uint8)
    image[2, 3] = 255
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(300):
        shifted = preprocess.random_shift(image, rng, 1, fill=7)
        assert shifted.shape == image.shape
        places.add(tuple(int(i) for i in np.argwhere(shifted[..., 0] == 255)[0]))
        assert set(np.unique(shifted)) <= {0, 7, 255}
    assert places == {(y, x) for y in (1, 2, 3) for x in (2, 3, 4)}
    np.testing.assert_array_equal(preprocess.random_shift(image, rng, 0), image)


def test_normalize():
    image = np.array([[[0, 127, 255]]], np.uint8)
    half = preprocess.normalize(image, preprocess.HALF_RANGE, preprocess.HALF_RANGE)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, [[[-1, -1 / 255, 1]]], rtol=1e-5)
    means = np.array([[preprocess.IMAGENET_MEAN]])
    zero = preprocess.normalize(means, preprocess.IMAGENET_MEAN, preprocess.IMAGENET_STD)
    np.testing.assert_array_equal(zero, np.zeros((1, 1, 3)))
    np.testing.assert_allclose(preprocess.IMAGENET_MEAN, 255 * np.array([0.485, 0.456, 0.406]))
    np.testing.assert_allclose(preprocess.IMAGENET_STD, 255 * np.array([0.229, 0.224, 0.225]))
