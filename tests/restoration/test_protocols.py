"""Protocols: every row measures what its words say, as evaluation scripts written out here do."""

import dataclasses
import pathlib

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from common.errors import UserError
from maxim_jax.alignment import aligned_psnr_ssim
from maxim_jax.protocols import PROTOCOLS, Protocol, get_protocol, measure, picture

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def pair():
    """A restored image that leaves 0..1, and its uint8 target."""
    rng = np.random.default_rng(0)
    target = cv2.GaussianBlur(rng.integers(0, 256, (40, 56, 3), np.uint8), (0, 0), 2)
    target = cv2.normalize(target, None, 0, 255, cv2.NORM_MINMAX)
    image = np.float32(target) / 255 + np.float32(rng.normal(0, 0.05, target.shape))
    assert image.min() < 0 and image.max() > 1
    return image, target


def decibel(a, b):
    return 10 * np.log10(255**2 / np.mean((np.float64(a) - b) ** 2))


def gaussian_ssim(a, b, **options):
    return structural_similarity(
        *(a, b), gaussian_weights=True, use_sample_covariance=False, data_range=255, **options
    )


def rounded(image):
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def average(x):
    return ndimage.gaussian_filter(x, 1.5, mode="nearest", radius=5)


def volume_ssim(a, b):
    """MATLAB's ssim of RGB arrays."""
    a, b = np.float64(a), np.float64(b)
    mean_a, mean_b = average(a), average(b)
    top = (2 * mean_a * mean_b + 2.55**2) * (2 * (average(a * b) - mean_a * mean_b) + 7.65**2)
    variances = average(a * a) - mean_a**2 + average(b * b) - mean_b**2
    return np.mean(top / ((mean_a**2 + mean_b**2 + 2.55**2) * (variances + 7.65**2)))


def rgb(image, target):
    a = rounded(image)
    return decibel(a, target), gaussian_ssim(a, target, channel_axis=2)


def matlab_rgb(image, target):
    a = rounded(image)
    return decibel(a, target), volume_ssim(a, target)


def sidd(image, target):
    a = np.clip(image, 0, 1) * 255
    return decibel(a, target), volume_ssim(a, target)


def official(image, target):
    a = np.float64(image) * 255
    return decibel(a, target), gaussian_ssim(a, np.float64(target), channel_axis=2)


def official_png(image, target):
    a = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return decibel(a, target), gaussian_ssim(a, target, channel_axis=2)


def bt601(image):
    weights = 65.481, 128.553, 24.966
    return 16 + sum(w * image[..., i] / 255 for i, w in enumerate(weights))


def basicsr_y(image, target):
    a, b = bt601(rounded(image)), bt601(target)
    return decibel(a, b), gaussian_ssim(a, b)


def deraining(image, target):
    a, b = np.rint(bt601(rounded(image))), np.rint(bt601(target))
    return decibel(a, b), gaussian_ssim(a, b)


def raindrop(image, target):
    a, b = (cv2.cvtColor(x, cv2.COLOR_RGB2YCrCb)[..., 0] for x in (rounded(image), target))
    return decibel(a, b), structural_similarity(a, b)


def realblur(image, target):
    return aligned_psnr_ssim(rounded(image), target)


SCRIPTS = {
    "rgb": rgb,
    "y": basicsr_y,
    "official": official,
    "official_png": official_png,
    "sidd": sidd,
    "gopro": matlab_rgb,
    "hide": matlab_rgb,
    "reds": rgb,
    "realblur_r": realblur,
    "realblur_j": realblur,
    "rain13k": deraining,
    "raindrop": raindrop,
    "reside_indoor": rgb,
    "reside_outdoor": rgb,
    "lol": rgb,
    "fivek": rgb,
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_against_scripts(pair, name):
    measured = measure(*pair, get_protocol(name))
    assert list(measured) == ["psnr", "ssim"]
    assert tuple(measured.values()) == pytest.approx(SCRIPTS[name](*pair), abs=1e-5)


def test_scripts_differ(pair):
    """By more than their tolerance: each row is told apart from the plain one."""
    plain = SCRIPTS["rgb"](*pair)
    for name, script in SCRIPTS.items():
        if script is not rgb:
            assert np.abs(np.subtract(script(*pair), plain)).max() > 1e-3, name


def test_border(pair):
    image, target = pair
    inner = np.s_[3:-3, 3:-3]
    expected = measure(image[inner], target[inner], PROTOCOLS["rgb"])
    assert measure(image, target, Protocol("inner", "any", border=3)) == pytest.approx(expected)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_uint8_is_taken_as_it_is(pair, protocol):
    """No value may lose a level on its way through 0..1."""
    target = pair[1]
    assert measure(target, target, protocol)["psnr"] > 60  # alignment interpolates


def test_pictures():
    image = np.float32([-0.2, 0.0, 0.4999, 0.999, 1.5])
    assert picture(image).tolist() == [0, 0, 127, 255, 255]
    assert picture(image, "truncated").tolist() == [0, 0, 127, 254, 255]
    assert picture(image, "clipped") == pytest.approx([0, 0, 127.4745, 254.745, 255])
    assert picture(image, "unclipped") == pytest.approx([-51, 0, 127.4745, 254.745, 382.5])
    every = np.arange(256, dtype=np.uint8)
    assert (picture(np.float32(every) / 255) == every).all()
    assert picture(every, "truncated") is every


def test_every_choice_is_described():
    """Protocols that measure differently read differently."""
    texts = {}
    for protocol in PROTOCOLS.values():
        text = {k: v for k, v in protocol.describe().items() if k not in ("test set", "notes")}
        text["protocol"] = ""
        key = dataclasses.replace(protocol, name="", test_set="", notes="")
        assert texts.setdefault(str(text), key) == key


def test_mistakes(pair):
    with pytest.raises(UserError, match="unknown protocol 'gopr': did you mean 'gopro'"):
        get_protocol("gopr")
    with pytest.raises(UserError, match="targets are not public"):
        get_protocol("dnd")
    with pytest.raises(UserError, match="not finite"):
        measure(np.full_like(pair[0], np.nan), pair[1], PROTOCOLS["rgb"])


def test_documentation_has_every_row():
    channels = {
        "rgb": "RGB",
        "bt601": "Y, BT.601, float",
        "bt601_uint8": "Y, BT.601, integers",
        "jpeg": "Y, full range, integers",
    }
    floats = {"clipped": "clipped float", "unclipped": "unclipped float"}
    expected = [
        f"| `{p.name}` | {p.test_set} | {channels[p.channels]}{', aligned' * p.aligned} |"
        f" {floats.get(p.prediction, p.prediction)} | {p.window.replace('gauss', 'Gauss')} |"
        for p in PROTOCOLS.values()
    ]
    text = (ROOT / "docs" / "restoration_evaluation.md").read_text()
    assert [line for line in text.splitlines() if line in expected] == expected
