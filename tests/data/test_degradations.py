import dataclasses
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from skimage import data as photos
from skimage.metrics import peak_signal_noise_ratio

from common.data import image_formation
from common.data.degradations import (
    DEGRADATIONS,
    Compose,
    DefocusBlur,
    GaussianNoise,
    Haze,
    LowLight,
    MotionBlur,
    PoissonNoise,
    RainStreaks,
    parse_degradations,
)
from common.errors import UserError

PHOTO = photos.coffee()[100:260, 200:400].astype(np.float32) / 255


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gray(value: float, side: int = 200) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_seeds_types_and_shapes(kind):
    degrade = DEGRADATIONS[kind]()
    before = PHOTO.copy()
    once, again, other = (degrade(PHOTO, rng(seed)) for seed in (1, 1, 2))
    assert once.dtype == np.float32 and once.shape == PHOTO.shape and np.isfinite(once).all()
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    np.testing.assert_array_equal(PHOTO, before)
    assert peak_signal_noise_ratio(PHOTO, np.clip(once, 0, 1), data_range=1) < 40
    if kind != "gaussian_noise":
        assert once.min() >= 0 and once.max() <= 1
    for shape in ((1, 1), (1, 30), (40, 2)):
        assert degrade(np.full((*shape, 3), 0.5, np.float32), rng()).shape == (*shape, 3)
    assert pickle.loads(pickle.dumps(degrade)) == degrade


@pytest.mark.parametrize("sigma", [0.0, 15.0, 50.0])
def test_gaussian_noise(sigma):
    noise = (GaussianNoise(sigma=sigma)(gray(0.02), rng()) - gray(0.02)) * 255
    assert abs(noise.std() - sigma) < 0.01 * sigma + 1e-9
    assert abs(noise.mean()) < 0.02 * sigma + 1e-9
    if sigma:  # neither clipped nor rounded
        assert noise.min() < -3 * sigma and len(np.unique(noise)) > 10_000
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


def test_ranges_are_drawn_from():
    sigmas = [
        (GaussianNoise(sigma=(10.0, 30.0))(gray(0, 64), rng(seed)) * 255).std()
        for seed in range(60)
    ]
    assert 9 < min(sigmas) < 13 and 27 < max(sigmas) < 31


@pytest.mark.parametrize("value", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("photons", [100.0, 3000.0])
def test_poisson_noise_counts_linear_light(value, photons):
    light = image_formation.to_linear(gray(value))
    seen = image_formation.to_linear(PoissonNoise(photons=photons)(gray(value), rng()))
    counts = seen * photons
    assert abs(counts.mean() / (light.mean() * photons) - 1) < 0.02
    if value < 0.9:  # brighter pixels are clipped
        assert abs(counts.var() / counts.mean() - 1) < 0.03
        np.testing.assert_allclose(counts, np.rint(counts), atol=0.01)


def test_srgb_transfer():
    values = np.linspace(0, 1, 256, dtype=np.float32)
    light = image_formation.to_linear(values)
    assert light.dtype == np.float32 and light[0] == 0 and light[-1] == 1
    np.testing.assert_allclose(light[188], 0.5029, atol=1e-4)  # the middle of the light
    np.testing.assert_allclose(image_formation.to_srgb(light), values, atol=1e-6)
    clipped = image_formation.to_srgb(np.float32([-1, 2]))
    np.testing.assert_allclose(clipped, [0, 1], atol=1e-6)


@pytest.mark.parametrize("length", [0.0, 0.5, 9.0, 40.0])
@pytest.mark.parametrize("bend", [0.0, 40.0])
def test_motion_kernels(length, bend):
    kernel = image_formation.motion_kernel(length, 30.0, bend, rng(3))
    assert kernel.dtype == np.float32 and kernel.min() >= 0
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2
    np.testing.assert_allclose(kernel.sum(), 1, atol=1e-6)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    np.testing.assert_allclose((kernel * offsets).sum(), 0, atol=1e-3)
    np.testing.assert_allclose((kernel * offsets[:, None]).sum(), 0, atol=1e-3)


def test_straight_motion_has_length_and_direction():
    kernel = image_formation.motion_kernel(20.0, 90.0, 0.0, rng())
    reach = len(kernel) // 2
    np.testing.assert_allclose(kernel[:, reach].sum(), 1, atol=1e-5)  # downwards
    assert 20 <= (kernel[:, reach] > 0.01).sum() <= 23
    np.testing.assert_allclose(kernel[reach - 8 : reach + 9, reach], 1 / 20, atol=0.005)
    tilted = image_formation.motion_kernel(20.0, 45.0, 0.0, rng())
    y, x = np.nonzero(tilted > 0.02)
    assert np.corrcoef(y, x)[0, 1] > 0.9  # right and down


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.3, 5.0])
def test_disc_kernels(radius):
    kernel = image_formation.disc_kernel(radius)
    np.testing.assert_allclose(kernel.sum(), 1, atol=1e-6)
    np.testing.assert_array_equal(kernel, kernel.T)
    if radius <= 0.5:
        assert kernel.max() == 1
    else:
        assert abs(1 / kernel.max() / (np.pi * radius**2) - 1) < 0.1  # its area


@pytest.mark.parametrize("degrade", [MotionBlur(), DefocusBlur()])
def test_blur_keeps_light(degrade):
    np.testing.assert_allclose(degrade(gray(0.3, 40), rng()), 0.3, atol=1e-5)
    image = gray(0.1, 101)
    image[48:53, 48:53] = 1
    light, blurred = (image_formation.to_linear(x) for x in (image, degrade(image, rng())))
    np.testing.assert_allclose(blurred.sum(), light.sum(), rtol=1e-4)
    assert blurred.max() < 0.9


def test_blur_spreads_a_point_as_the_kernel():
    kernel = rng().random((5, 3)).astype(np.float32)
    kernel /= kernel.sum()
    image = gray(0, 11)
    image[5, 5] = 1
    light = image_formation.to_linear(image_formation.blur(image, kernel))
    np.testing.assert_allclose(light[3:8, 4:7, 0], kernel, atol=1e-5)


def test_rain_is_bright_streaks_along_the_wind():
    degrade = RainStreaks(density=0.1, length=30.0, angle=0.0, opacity=0.6)
    rainy = degrade(gray(0.2, 300), rng())
    assert rainy.min() > 0.2 - 1e-6 and 0.4 < rainy.max() <= 0.2 + 0.6 * 0.75 + 1e-6
    assert 0.03 < (rainy[..., 0] > 0.21).mean() < 0.4
    along, across = (np.abs(np.diff(rainy[..., 0], axis=axis)).mean() for axis in (0, 1))
    assert along < 0.5 * across  # they fall
    dry = RainStreaks(density=0.0)
    np.testing.assert_array_equal(dry(PHOTO, rng()), PHOTO)


def test_rain_follows_the_wind():
    layer = image_formation.rain_layer(300, 300, 0.05, 40.0, 20.0, rng())
    spectrum = np.abs(np.fft.fft2(layer - layer.mean())) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(300), np.fft.fftfreq(300), indexing="ij")
    # Energy lies across the streaks; their direction is (sin 20, cos 20) in (x, y).
    angle = 0.5 * np.arctan2((2 * spectrum * fx * fy).sum(), (spectrum * (fx**2 - fy**2)).sum())
    np.testing.assert_allclose(np.rad2deg(angle), -20, atol=4)


def test_haze_thickens_with_depth():
    depth = np.linspace(0, 3, 50, dtype=np.float32)[None].repeat(4, 0)
    hazy = image_formation.add_haze(gray(0.1, 50)[:4], depth, 1.0, 0.8)
    assert (np.diff(hazy, axis=1) > 0).all()
    np.testing.assert_allclose(hazy[:, 0], 0.1, atol=1e-6)
    light = image_formation.to_linear(hazy)
    expected = image_formation.to_linear(0.1) * np.exp(-depth) + 0.8 * (1 - np.exp(-depth))
    np.testing.assert_allclose(light[..., 0], expected, atol=1e-5)
    np.testing.assert_array_equal(Haze(beta=0.0)(gray(0.5), rng()).round(5), gray(0.5))


def test_made_up_depth_is_that_of_a_landscape():
    for seed in range(5):
        depth = image_formation.depth_map(90, 120, rng(seed))
        assert depth.shape == (90, 120) and depth.dtype == np.float32
        assert depth.min() == 0 and depth.max() == 1
        assert depth[:20].mean() > 2 * depth[-20:].mean()  # the sky is far, our feet are near
        assert np.abs(np.diff(depth, axis=0)).max() < 0.1


def test_low_light():
    degrade = LowLight(exposure=0.1, photons=2000.0, read_noise=4.0)
    light = image_formation.to_linear(degrade(gray(0.8), rng()))
    mean = 0.1 * image_formation.to_linear(0.8)
    np.testing.assert_allclose(light.mean(), mean, rtol=0.01)
    np.testing.assert_allclose(light.var(), mean / 2000 + (4 / 2000) ** 2, rtol=0.05)


def test_compose_is_one_after_the_other():
    steps = (MotionBlur(), GaussianNoise())
    generator = rng(5)
    expected = steps[1](steps[0](PHOTO, generator), generator)
    np.testing.assert_array_equal(Compose(steps)(PHOTO, rng(5)), expected)
    assert not Compose() and Compose(steps)
    assert Compose()(PHOTO, rng()) is PHOTO


@pytest.mark.parametrize("second", sorted(DEGRADATIONS))
def test_everything_composes_with_noise_that_leaves_the_range(second):
    degrade = parse_degradations([{"kind": "gaussian_noise", "sigma": 60}, {"kind": second}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(degrade(gray(0.02, side=32), rng())).all()


def test_parsing():
    degrade = parse_degradations(
        ({"kind": "motion_blur", "length": [3, 9]}, {"kind": "gaussian_noise", "sigma": 25})
    )
    assert degrade == Compose((MotionBlur(length=(3.0, 9.0)), GaussianNoise(sigma=25.0)))
    assert parse_degradations(()) == Compose()
    for kind, cls in DEGRADATIONS.items():
        assert parse_degradations(({"kind": kind},)) == Compose((cls(),))
        assert all(field.kw_only for field in dataclasses.fields(cls))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"kind": "gausian_noise"}, "[0].kind='gausian_noise': did you mean 'gaussian_noise'"),
        ({"sigma": 25}, "[0].kind='': choose from defocus_blur"),
        ({"kind": "haze", "bet": 1}, "[0].bet: unknown field, did you mean 'beta'"),
        ({"kind": "haze", "beta": "thick"}, "[0].beta='thick': expected float"),
        ({"kind": "gaussian_noise", "sigma": -1}, "sigma=-1.0 is negative"),
        ({"kind": "gaussian_noise", "sigma": (3, 1)}, "low <= high"),
        ({"kind": "gaussian_noise", "sigma": (1, 2, 3)}, "low <= high"),
        ({"kind": "gaussian_noise", "sigma": float("nan")}, "a finite number is needed"),
        ({"kind": "poisson_noise", "photons": 0}, "photons=0.0 is zero"),
        ({"kind": "low_light", "exposure": (0.1, 2)}, "larger than 1"),
    ],
)
def test_mistakes(item, message):
    with pytest.raises(UserError) as caught:
        parse_degradations((item,))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_docs_name_every_field():
    text = (Path(__file__).parents[2] / "docs/restoration_data.md").read_text()
    for kind, cls in DEGRADATIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{kind}`"))
        for field in dataclasses.fields(cls):
            default = f"{field.default:g}" if isinstance(field.default, float) else None
            default = default or "({:g}, {:g})".format(*field.default)
            assert f"`{field.name}` {default}" in row
