"""timm's RandAugment: operations and their arguments as recorded from timm 1.0.31."""

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from common.data.augment_increasing import OPERATIONS, IncreasingRandAugment

PHOTO = np.ascontiguousarray(photos.astronaut()[:96, :120])
FILL = (124, 116, 104)

# At magnitude 9 and 10, with a positive sign.
ARGUMENTS = {
    "Rotate": (27, 30),
    "Posterize": (1, 0),
    "Solarize": (26, 0),
    "SolarizeAdd": (99, 110),
    "Color": (1.81, 1.9),
    "Contrast": (1.81, 1.9),
    "Brightness": (1.81, 1.9),
    "Sharpness": (1.81, 1.9),
    "ShearX": (0.27, 0.3),
    "ShearY": (0.27, 0.3),
    "TranslateX": (0.405, 0.45),
    "TranslateY": (0.405, 0.45),
}
ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")

# Mean absolute change of PHOTO at magnitude 7.3, with a positive and a negative sign, bicubic.
CHANGES = {
    "AutoContrast": (11.47, 11.47),
    "Equalize": (25.322, 25.322),
    "Invert": (124.383, 124.383),
    "Rotate": (34.187, 34.389),
    "Posterize": (36.137, 36.137),
    "Solarize": (60.222, 60.222),
    "SolarizeAdd": (32.15, 32.15),
    "Color": (5.48, 5.444),
    "Contrast": (30.212, 42.256),
    "Brightness": (58.764, 79.462),
    "Sharpness": (0.822, 0.847),
    "ShearX": (33.441, 33.313),
    "ShearY": (22.005, 21.028),
    "TranslateX": (66.939, 71.952),
    "TranslateY": (44.521, 43.413),
}


class Draws:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


def apply(name, magnitude, sign=1, **settings):
    """One operation with the sign given, on PHOTO, bicubic unless asked otherwise."""
    settings = {"interpolation": "bicubic", "fill": FILL} | settings
    draws = Draws(0.2 if sign == 1 else 0.8)
    result = IncreasingRandAugment(**settings).apply(name, Image.fromarray(PHOTO), magnitude, draws)
    return np.asarray(result)


def change(image):
    return np.abs(image.astype(float) - PHOTO).mean()


def test_operations_and_their_order():
    names = (
        "AutoContrast, Equalize, Invert, Rotate, Posterize, Solarize, SolarizeAdd, Color, Contrast,"
        " Brightness, Sharpness, ShearX, ShearY, TranslateX, TranslateY"
    )
    assert ", ".join(OPERATIONS) == names


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name):
    argument = OPERATIONS[name][1]
    assert [argument(m / 10, 1) for m in (9, 10)] == pytest.approx(ARGUMENTS[name])
    if name in ENHANCEMENTS:
        assert [argument(m / 10, -1) for m in (9, 10)] == pytest.approx((0.19, 0.1))
    elif name in GEOMETRIC:
        assert argument(0.9, -1) == -argument(0.9, 1)
    else:
        assert argument(0.9, -1) == argument(0.9, 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_changes_are_those_of_timm(name):
    changes = [change(apply(name, 7.3, sign)) for sign in (1, -1)]
    assert changes == pytest.approx(CHANGES[name], abs=0.02)


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_larger_magnitude_changes_more(name, sign):
    changes = [change(apply(name, magnitude, sign)) for magnitude in (1, 4, 7, 10)]
    assert changes[0] < changes[1] < changes[2] < changes[3]


@pytest.mark.parametrize("name", GEOMETRIC)
def test_what_comes_in_has_the_given_colour(name):
    for fill in (FILL, (9, 200, 3)):
        assert (apply(name, 10, fill=fill) == fill).all(-1).mean() > 0.05


def test_translations_are_shares_of_the_image():
    for name, axis, shift in (("TranslateX", 1, 54), ("TranslateY", 0, 43)):
        moved = apply(name, 10, interpolation="nearest").swapaxes(0, axis)
        photo = PHOTO.swapaxes(0, axis)
        assert (moved[-shift:] == FILL).all()
        np.testing.assert_array_equal(moved[: len(photo) - shift - 1], photo[shift:-1])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_random_interpolation_is_bilinear_or_bicubic(name):
    magnitude = 5.3  # no whole pixels
    bilinear, bicubic = (apply(name, magnitude, interpolation=i) for i in ("bilinear", "bicubic"))
    assert not np.array_equal(bilinear, bicubic)
    augmentation = IncreasingRandAugment(fill=FILL)
    for draw, expected in ((0.2, bilinear), (0.8, bicubic)):
        result = augmentation.apply(name, Image.fromarray(PHOTO), magnitude, Draws(0.2, draw))
        np.testing.assert_array_equal(np.asarray(result), expected)


def test_is_a_function_of_the_generator():
    augmentation = IncreasingRandAugment(num_layers=4, probability=1.0)
    first, again, other = (augmentation(PHOTO, np.random.default_rng(s)) for s in (3, 3, 4))
    assert first.shape == PHOTO.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_how_often_and_how_strongly_operations_are_applied(monkeypatch):
    applied = []

    def record(self, name, image, magnitude, rng):
        applied.append((name, magnitude))
        return image

    monkeypatch.setattr(IncreasingRandAugment, "apply", record)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        IncreasingRandAugment()(PHOTO[:8, :8], rng)
    assert 1900 < len(applied) < 2100  # of 4000
    counts = [sum(name == other for other, _ in applied) for name in OPERATIONS]
    assert min(counts) > 95 and max(counts) < 175  # of 133 each
    magnitudes = np.array([magnitude for _, magnitude in applied])
    assert magnitudes.max() == 10  # clipped: 2.3 % of a normal distribution are above
    assert 0.01 < (magnitudes == 10).mean() < 0.04
    assert magnitudes.mean() == pytest.approx(9, abs=0.05)
    assert magnitudes.std() == pytest.approx(0.5, abs=0.05)
