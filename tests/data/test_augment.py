import inspect

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from common.data import augment
from common.data.augment import OPERATIONS, RandAugment

PHOTO = np.ascontiguousarray(photos.astronaut()[:64, :80])
GRAY = 128


def run(function, *args, image=PHOTO):
    return np.asarray(function(Image.fromarray(image), *args))


def unchanged(function, *args):
    np.testing.assert_array_equal(run(function, *args), PHOTO)


def test_auto_contrast():
    low, high = PHOTO.min((0, 1)).astype(float), PHOTO.max((0, 1))
    expected = np.clip((PHOTO - low) * (255 / (high - low)), 0, 255)
    assert np.abs(run(augment.auto_contrast) - expected).max() <= 1
    flat = np.full((4, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(run(augment.auto_contrast, image=flat), flat)


def test_equalize():
    """Against the published code's formula, channel by channel."""
    expected = np.empty_like(PHOTO)
    for channel in range(3):
        counts = np.bincount(PHOTO[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        table = (np.cumsum(counts) + step // 2) // step
        table = np.clip(np.concatenate([[0], table[:-1]]), 0, 255)
        expected[..., channel] = table[PHOTO[..., channel]]
    np.testing.assert_array_equal(run(augment.equalize), expected)


def test_invert():
    np.testing.assert_array_equal(run(augment.invert), 255 - PHOTO)


def test_rotate():
    unchanged(augment.rotate, 0)
    square = PHOTO[:, :64]
    turned = run(augment.rotate, 90, image=square)
    np.testing.assert_array_equal(turned, np.rot90(square))
    corner = run(augment.rotate, 45, image=square)[:5, :5]
    np.testing.assert_array_equal(corner, np.full((5, 5, 3), GRAY))


def test_posterize():
    unchanged(augment.posterize, 8)
    for bits in range(8):
        expected = PHOTO.astype(int) // 2 ** (8 - bits) * 2 ** (8 - bits)
        np.testing.assert_array_equal(run(augment.posterize, bits), expected)


def test_solarize():
    unchanged(augment.solarize, 256)
    expected = np.where(PHOTO < 100, PHOTO, 255 - PHOTO)
    np.testing.assert_array_equal(run(augment.solarize, 100), expected)


def test_solarize_add():
    unchanged(augment.solarize_add, 0)
    expected = np.where(PHOTO < 128, np.minimum(PHOTO.astype(int) + 165, 255), PHOTO)
    np.testing.assert_array_equal(run(augment.solarize_add, 165), expected)


def gray_of(image):
    return (image @ np.array([0.299, 0.587, 0.114]))[..., None]


@pytest.mark.parametrize("factor", [0.1, 1.9, 2.8])
@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
def test_enhancements_blend_with_what_factor_zero_gives(name, factor):
    function = OPERATIONS[name][0]
    unchanged(function, 1.0)
    inner = PHOTO.astype(float)
    if name == "Color":
        degenerate = np.broadcast_to(gray_of(inner), PHOTO.shape)
    elif name == "Contrast":
        degenerate = np.full(PHOTO.shape, gray_of(inner).mean())
    elif name == "Brightness":
        degenerate = np.zeros(PHOTO.shape)
    else:
        degenerate = inner.copy()
        window = sum(np.roll(inner, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1))
        degenerate[1:-1, 1:-1] = ((window + 4 * inner) / 13)[1:-1, 1:-1]
    assert np.abs(run(function, 0.0) - degenerate).max() <= 1
    expected = np.clip(degenerate + factor * (inner - degenerate), 0, 255)
    assert np.abs(run(function, factor) - expected).max() <= 1 + 2 * abs(1 - factor)


def test_shear():
    unchanged(augment.shear_x, 0)
    unchanged(augment.shear_y, 0)
    for function, image in [(augment.shear_x, PHOTO), (augment.shear_y, PHOTO.swapaxes(0, 1))]:
        image = np.ascontiguousarray(image)
        result = run(function, 0.5, image=image)
        if function is augment.shear_y:
            image, result = image.swapaxes(0, 1), result.swapaxes(0, 1)
        for y in (0, 20, 40):  # pixel centres are at y + 0.5
            shift = int(0.5 + 0.5 * (y + 0.5))
            np.testing.assert_array_equal(result[y, : 80 - shift], image[y, shift:])
            np.testing.assert_array_equal(result[y, 81 - shift :], GRAY)


def test_translate():
    unchanged(augment.translate_x, 0)
    unchanged(augment.translate_y, 0)
    left = run(augment.translate_x, 10)
    np.testing.assert_array_equal(left[:, :70], PHOTO[:, 10:])
    np.testing.assert_array_equal(left[:, 70:], GRAY)
    down = run(augment.translate_y, -5)
    np.testing.assert_array_equal(down[5:], PHOTO[:-5])
    np.testing.assert_array_equal(down[:5], GRAY)


def test_cutout():
    unchanged(augment.cutout, 0, (10, 10))
    expected = PHOTO.copy()
    expected[4:8, 26:30] = GRAY
    np.testing.assert_array_equal(run(augment.cutout, 2, (28, 6)), expected)
    expected = PHOTO.copy()
    expected[:2, 78:] = GRAY
    np.testing.assert_array_equal(run(augment.cutout, 2, (80, 0)), expected)


# At magnitude 10 and 15, from the published formulas.
ARGUMENTS = {
    "Rotate": (30, 45),
    "Posterize": (4, 6),
    "Solarize": (255, 255),
    "SolarizeAdd": (110, 165),
    "Color": (1.9, 2.8),
    "Contrast": (1.9, 2.8),
    "Brightness": (1.9, 2.8),
    "Sharpness": (1.9, 2.8),
    "ShearX": (0.3, 0.45),
    "ShearY": (0.3, 0.45),
    "TranslateX": (100, 150),
    "TranslateY": (100, 150),
    "Cutout": (40, 60),
}


def test_table_has_the_published_operations_in_their_order():
    names = (
        "AutoContrast, Equalize, Invert, Rotate, Posterize, Solarize, Color, Contrast, Brightness, "
        "Sharpness, ShearX, ShearY, TranslateX, TranslateY, Cutout, SolarizeAdd"
    )
    assert ", ".join(OPERATIONS) == names
    without = {name for name, (_, argument) in OPERATIONS.items() if argument is None}
    assert without == {"AutoContrast", "Equalize", "Invert"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name):
    argument = OPERATIONS[name][1]
    values = [argument(RandAugment(magnitude=m), m / 10) for m in (10, 15)]
    assert values == pytest.approx(ARGUMENTS[name])
    assert argument(RandAugment(magnitude=30), 3) is not None


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 15, 30])
def test_every_operation_runs_at_every_magnitude(name, magnitude):
    rng = np.random.default_rng(0)
    result = RandAugment(magnitude=magnitude).apply(name, Image.fromarray(PHOTO), rng)
    assert result.size == (80, 64) and result.mode == "RGB"


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_sign_is_random(name):
    function, _ = OPERATIONS[name]
    magnitude = 1
    value = OPERATIONS[name][1](RandAugment(magnitude=magnitude), magnitude / 10)
    both = [run(function, sign * value) for sign in (1, -1)]
    rng = np.random.default_rng(0)
    counts = [0, 0]
    for _ in range(60):
        result = np.asarray(RandAugment(magnitude=1).apply(name, Image.fromarray(PHOTO), rng))
        counts[[np.array_equal(result, other) for other in both].index(True)] += 1
    assert min(counts) > 15


def test_cutout_centres_cover_the_image():
    rng = np.random.default_rng(0)
    hit = np.zeros(PHOTO.shape[:2], bool)
    marker = np.zeros_like(PHOTO)
    for _ in range(100):
        image = RandAugment(cutout_const=4).apply("Cutout", Image.fromarray(marker), rng)
        hit |= np.asarray(image)[..., 0] == GRAY
    assert hit.mean() > 0.85


def test_rand_augment_is_a_function_of_the_generator():
    augmentation = RandAugment()
    results = [augmentation(PHOTO, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert all(r.shape == PHOTO.shape and r.dtype == np.uint8 for r in results)
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    unlayered = RandAugment(num_layers=0)(PHOTO, np.random.default_rng(0))
    np.testing.assert_array_equal(unlayered, PHOTO)


def test_rand_augment_draws_all_operations(monkeypatch):
    drawn = []
    apply = RandAugment.apply

    def record(self, name, image, rng):
        drawn.append(name)
        return apply(self, name, image, rng)

    monkeypatch.setattr(RandAugment, "apply", record)
    rng = np.random.default_rng(0)
    for _ in range(400):
        RandAugment()(PHOTO[:8, :8], rng)
    counts = [drawn.count(name) for name in OPERATIONS]
    assert len(drawn) == 800 and min(counts) > 25 and max(counts) < 80


def test_operations_are_documented():
    assert all(inspect.getdoc(function) for function, _ in OPERATIONS.values())
