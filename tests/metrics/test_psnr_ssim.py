"""PSNR and SSIM against stored values of the reference implementations, and scikit-image."""

import json
import pathlib

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from common.metrics.psnr_ssim import luma, psnr, ssim, ssim_map
from tests.golden.weights import make_image

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "maxim" / "metrics.json"
PAIRS = json.loads(GOLDEN.read_text())["pairs"]
DB, DB_FLOAT32, SIMILARITY = 1e-4, 1e-3, 1e-5  # tolerances that the file asks for


def to_uint8(x):
    return np.clip(np.rint(255 * x), 0, 255).astype(np.uint8)


@pytest.fixture(params=PAIRS)
def pair(request):
    """Target and prediction as floats in about 0..1, and the stored values."""
    spec = PAIRS[request.param]
    shape, amplitude = (1, *spec["shape"], 3), spec["amp"]
    target = make_image(shape, spec["seed"], 0, 1)[0]
    noise = make_image(shape, spec["seed"] + 100, -1, 1)[0]
    image = target * (1 - amplitude / 2) + amplitude * noise * 0.5 + 0.01
    check = spec["values"]["check"]
    assert to_uint8(target).sum() == check["gt_u8_sum"]
    assert to_uint8(image).sum() == check["pred_u8_sum"]
    return image, target, spec["values"]


@pytest.mark.parametrize("border", [0, 4])
def test_rgb(pair, border):
    image, target, stored = pair
    rounded = to_uint8(image), to_uint8(target)
    measured = psnr(*rounded, border=border)
    assert measured == pytest.approx(stored[f"psnr_u8_crop{border}_RGB"], abs=DB)
    assert measured == pytest.approx(stored[f"run_eval_psnr_u8_crop{border}_RGB"], abs=DB)
    expected = stored[f"ssim_u8_crop{border}_RGB"]
    assert ssim(*rounded, border=border) == pytest.approx(expected, abs=SIMILARITY)
    unclipped = psnr(image * 255, target * 255, border=border)
    expected = stored[f"run_eval_psnr_float_unclipped_crop{border}_RGB"]
    assert unclipped == pytest.approx(expected, abs=DB_FLOAT32)


@pytest.mark.parametrize("border", [0, 4])
def test_y(pair, border):
    image, target, stored = pair
    rounded = [luma(to_uint8(x), "bt601") for x in (image, target)]
    measured = psnr(*rounded, border=border)
    assert measured == pytest.approx(stored[f"psnr_u8_crop{border}_Y"], abs=DB_FLOAT32)
    assert measured == pytest.approx(stored[f"run_eval_psnr_u8_crop{border}_Y"], abs=DB_FLOAT32)
    expected = stored[f"ssim_u8_crop{border}_Y"]
    assert ssim(*rounded, border=border) == pytest.approx(expected, abs=SIMILARITY)
    unclipped = psnr(luma(image * 255, "bt601"), luma(target * 255, "bt601"), border=border)
    expected = stored[f"run_eval_psnr_float_unclipped_crop{border}_Y"]
    assert unclipped == pytest.approx(expected, abs=DB_FLOAT32)


def test_matlab_y(pair):
    image, target, stored = pair
    image, target = (luma(to_uint8(x), "bt601_uint8") for x in (image, target))
    assert [image.mean(), target.mean()] == pytest.approx(stored["matlab_Y_uint8_mean"], abs=1e-9)
    assert psnr(image, target) == pytest.approx(stored["psnr_matlab_Y_uint8"], abs=DB)
    assert ssim(image, target) == pytest.approx(stored["ssim_matlab_Y_uint8"], abs=SIMILARITY)


def test_scikit_image_gaussian(pair):
    image, target, stored = pair
    measured = ssim(to_uint8(image), to_uint8(target))
    assert measured == pytest.approx(stored["skimage_ssim_gauss_rgb"], abs=SIMILARITY)


def test_raindrop(pair):
    image, target, stored = pair
    image, target = (luma(to_uint8(x), "jpeg") for x in (image, target))
    assert psnr(image, target) == pytest.approx(stored["raindrop_psnr_fullrangeY"], abs=DB)
    expected = stored["raindrop_ssim_fullrangeY_uniform7"]
    assert ssim(image, target, window="uniform") == pytest.approx(expected, abs=SIMILARITY)


def test_truncated_prediction(pair):
    image, target, stored = pair
    scaled = np.clip(image, 0, 1) * 255
    pictures = [scaled.astype(np.uint8), np.rint(scaled).astype(np.uint8)]
    measured = [psnr(picture, to_uint8(target)) for picture in pictures]
    assert measured == pytest.approx(stored["psnr_png_truncated_vs_rounded"], abs=DB)


# ---------------------------------------------------------------- against other implementations


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (23, 31, 3), np.uint8)
    return np.uint8(np.clip(target + rng.normal(0, 30, target.shape), 0, 255)), target


def test_uniform_window_is_scikit_images_default(noisy):
    expected = structural_similarity(*noisy, channel_axis=2)
    assert ssim(*noisy, window="uniform") == pytest.approx(expected, abs=1e-10)


def test_volume_is_a_gaussian_along_three_axes(noisy):
    """MATLAB's formula written out: radius 5, every border repeated, mean over all pixels."""

    def average(x):
        return ndimage.gaussian_filter(np.float64(x), 1.5, mode="nearest", radius=5)

    a, b = map(np.float64, noisy)
    variance_a, variance_b = (average(x * x) - average(x) ** 2 for x in (a, b))
    covariance = average(a * b) - average(a) * average(b)
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * average(a) * average(b) + c1) * (2 * covariance + c2)
    expected /= (average(a) ** 2 + average(b) ** 2 + c1) * (variance_a + variance_b + c2)
    np.testing.assert_allclose(ssim_map(*noisy, window="volume"), expected, rtol=1e-9)
    assert ssim(*noisy, window="volume") == pytest.approx(expected.mean(), rel=1e-12)
    assert abs(ssim(*noisy, window="volume") - ssim(*noisy)) > 1e-3


def test_gray_images(noisy):
    image, target = (x[..., 0] for x in noisy)
    expected = structural_similarity(
        image, target, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(image, target) == pytest.approx(expected, abs=1e-10)
    assert psnr(image, target) == pytest.approx(
        10 * np.log10(255**2 / np.mean((np.float64(image) - target) ** 2))
    )


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("window", ["gaussian", "volume", "uniform"])
def test_equal_images(noisy, window):
    assert ssim(noisy[1], noisy[1], window=window) == pytest.approx(1, abs=1e-12)
    assert psnr(noisy[1], noisy[1]) == float("inf")


def test_uint8_differences_do_not_wrap():
    dark, light = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert psnr(dark, light) == psnr(light, dark) == 0


@pytest.mark.parametrize(("window", "side"), [("gaussian", 11), ("uniform", 7), ("volume", 1)])
def test_smallest_images(window, side):
    def measure(side):
        return ssim(*np.full((2, side, side, 3), 9, np.uint8), window=window)

    assert measure(side) == 1
    assert side == 1 or np.isnan(measure(side - 1))


def test_what_cannot_be_compared():
    a, b = np.zeros((8, 8, 3)), np.zeros((8, 9, 3))
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=r"shapes \(8, 8, 3\) and \(8, 9, 3\)"):
            metric(a, b)
        with pytest.raises(ValueError, match="border=4 leaves nothing"):
            metric(a, a, border=4)
