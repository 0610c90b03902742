"""RealBlur's alignment: known shifts and gains are undone, and the masked metrics are right."""

import cv2
import numpy as np
import pytest
from skimage import data as photos
from skimage.metrics import structural_similarity

from common.metrics.psnr_ssim import psnr, ssim
from maxim_jax.alignment import align, aligned_psnr_ssim

HOMOGRAPHY = np.array([[1.004, 0.003, -2.3], [-0.002, 0.997, 1.6], [6e-6, -4e-6, 1]])


@pytest.fixture(scope="module")
def target():
    """Textured, and smooth enough that interpolating it twice loses little."""
    return cv2.GaussianBlur(np.float32(photos.astronaut()[40:200, 120:300]), (0, 0), 1.5)


def moved(target, gain=1.0):
    """The target seen through the homography, darker by a gain."""
    size = target.shape[1::-1]
    flags = cv2.INTER_CUBIC
    return gain * cv2.warpPerspective(
        target, HOMOGRAPHY, size, flags=flags, borderMode=cv2.BORDER_REFLECT
    )


def test_homography_and_gain_are_undone(target):
    image = moved(target, 0.8)
    aligned = align(image, target)
    corners = np.float32([[[0, 0], [179, 0], [0, 159], [179, 159]]])
    found, known = (cv2.perspectiveTransform(corners, m) for m in (aligned.homography, HOMOGRAPHY))
    np.testing.assert_allclose(found, known, atol=0.3)  # pixels
    assert 0.9 < aligned.mask.mean() < 1
    assert (aligned.image[~aligned.mask] == 0).all()
    assert np.abs(aligned.image - target)[aligned.mask].mean() < 1
    before, after = psnr(image, target), aligned_psnr_ssim(image, target)[0]
    assert before < 20 and after > 38


def test_mask_is_what_lies_inside(target):
    """A shift by whole pixels leaves out exactly the columns that came from outside."""
    image = np.roll(target, 4, axis=1)
    image[:, :4] = image[:, 4:8]
    aligned = align(image, target)
    np.testing.assert_allclose(aligned.homography[:2, 2], [4, 0], atol=0.05)
    assert aligned.mask[:, :175].all() and not aligned.mask[:, 177:].any()


def test_metrics_are_those_of_the_common_pixels(target):
    """The script's formulas on what the alignment gives, in its scale of 0..1."""
    noise = np.random.default_rng(0).normal(0, 4, target.shape)
    image = np.rint(np.roll(target, 12, axis=1) + noise)
    aligned, mask, _ = align(image, target)
    assert mask[:, 5:-5].mean() < 0.97  # places in the SSIM map are masked
    mask = np.repeat(np.float64(mask)[..., None], 3, axis=2)
    a, b = np.float64(aligned) / 255, np.float64(target) / 255 * mask
    expected_psnr = 10 * np.log10(1 / (np.sum((a - b) ** 2) / mask.sum()))
    _, similarity = structural_similarity(
        *(b, a),
        channel_axis=2,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    inner = np.s_[5:-5, 5:-5]
    expected_ssim = np.mean((similarity * mask)[inner].sum((0, 1)) / mask[inner].sum((0, 1)))
    measured = aligned_psnr_ssim(image, target)
    assert measured == pytest.approx((expected_psnr, expected_ssim), abs=1e-6)


def test_what_lies_right_stays(target):
    image = np.clip(target + np.random.default_rng(0).normal(0, 10, target.shape), 0, 255)
    found = aligned_psnr_ssim(image, target)
    assert found == pytest.approx((psnr(image, target), ssim(image, target)), rel=0.02)


@pytest.mark.parametrize("shape", [(40, 40, 3), (8, 12, 3), (1, 1, 3)])
@pytest.mark.parametrize("value", [0, 9])
def test_one_colour_is_measured_as_it_lies(shape, value, caplog):
    image, target = np.full(shape, value, np.uint8), np.full(shape, 9, np.uint8)
    found_psnr, found_ssim = aligned_psnr_ssim(image, target)
    assert found_psnr == pytest.approx(psnr(image, target), rel=1e-6)
    assert np.isnan(found_ssim) if shape[0] < 11 else found_ssim <= 1
