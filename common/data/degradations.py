"""Degradations that turn clean photos into pairs: noise, blur, rain, haze, low light.

Each is a frozen dataclass, called with an image and a generator. A parameter is a number, or a pair
(low, high) of which every image draws its own, uniformly.

What happens to light (blur, haze, photon noise, exposure) is computed in linear light, between the
inverse and the forward transfer function of sRGB, and clipped to 0..1. Gaussian noise and rain
streaks act on the stored values, as the usual benchmarks do. Nothing is rounded to 8 bits.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from common.config import parse_section
from common.data.image_formation import (
    add_haze,
    blur,
    count_photons,
    depth_map,
    disc_kernel,
    motion_kernel,
    rain_layer,
    to_linear,
    to_srgb,
)
from common.errors import UserError, did_you_mean

Range = float | tuple[float, ...]
_RAIN_COLOR = np.float32(0.95)


class Degradation(Protocol):
    """A function of an image, float32 `[height, width, 3]` in 0..1, and a generator."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Compose:
    """Degradations one after the other.

    Attributes:
      steps: in order; without any, images stay as they are.
    """

    steps: tuple[Degradation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for step in self.steps:
            image = step(image, rng)
        return image


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """White noise on the stored values; neither clipped nor rounded: the usual benchmark.

    Attributes:
      sigma: standard deviation on the 0..255 scale.
    """

    sigma: Range = 25.0

    def __post_init__(self):
        _check_ranges(self)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = np.float32(_draw(self.sigma, rng) / 255)
        return image + sigma * rng.standard_normal(image.shape, np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoissonNoise:
    """Photon noise: counts of photons, of linear light.

    Attributes:
      photons: mean count of a white pixel, per channel; fewer are noisier.
    """

    photons: Range = 200.0

    def __post_init__(self):
        _check_ranges(self, above_zero=("photons",))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        photons = _draw(self.photons, rng)
        return to_srgb(count_photons(to_linear(image), photons, rng))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MotionBlur:
    """A camera that moves while the shutter is open, along a curved path of even speed.

    Attributes:
      length: of the path in pixels; below 1 nothing moves.
      angle: its mean direction in degrees, from the right downwards.
      bend: standard deviation of the direction along the path, in degrees; 0 is a straight line.
    """

    length: Range = (5.0, 25.0)
    angle: Range = (0.0, 180.0)
    bend: Range = (0.0, 40.0)

    def __post_init__(self):
        _check_ranges(self, any_sign=("angle",))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        length, angle, bend = (_draw(v, rng) for v in (self.length, self.angle, self.bend))
        return blur(image, motion_kernel(length, angle, bend, rng))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefocusBlur:
    """A lens that is out of focus: every point becomes a disc.

    Attributes:
      radius: of the disc in pixels; at 0.5 or less nothing changes.
    """

    radius: Range = (1.0, 6.0)

    def __post_init__(self):
        _check_ranges(self)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return blur(image, disc_kernel(_draw(self.radius, rng)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RainStreaks:
    """Bright, translucent streaks of falling drops, many thin distant and few thick close ones.

    Attributes:
      density: share of the picture that streaks touch, in 0..1.
      length: of the closest streaks in pixels; distant ones are down to a third of it.
      angle: of the wind in degrees from the vertical; streaks differ by a few degrees.
      opacity: of the closest streaks, in 0..1.
    """

    density: Range = (0.05, 0.25)
    length: Range = (20.0, 60.0)
    angle: Range = (-25.0, 25.0)
    opacity: Range = (0.3, 0.7)

    def __post_init__(self):
        _check_ranges(self, any_sign=("angle",), up_to_one=("density", "opacity"))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        fields = (self.density, self.length, self.angle, self.opacity)
        density, length, angle, opacity = (_draw(value, rng) for value in fields)
        rain = rain_layer(*image.shape[:2], density, length, angle, rng)[..., None]
        return image + np.float32(opacity) * rain * (_RAIN_COLOR - image)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Haze:
    """Scattered light that hides what is far: `t * scene + (1 - t) * airlight`, t = exp(-beta d).

    The depths d are not the scene's, which nobody knows, but look like one: see `depth_map`.

    Attributes:
      beta: optical depth of the farthest point.
      airlight: brightness of the haze itself in linear light, in 0..1.
    """

    beta: Range = (0.4, 2.0)
    airlight: Range = (0.5, 0.9)

    def __post_init__(self):
        _check_ranges(self, up_to_one=("airlight",))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        beta, airlight = _draw(self.beta, rng), _draw(self.airlight, rng)
        return add_haze(image, depth_map(*image.shape[:2], rng), beta, airlight)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowLight:
    """A photo taken with too little light: dark, with photon and read noise.

    Attributes:
      exposure: factor on linear light, in 0..1.
      photons: mean count of a pixel that is white at full exposure.
      read_noise: standard deviation of the sensor's own noise, in photons.
    """

    exposure: Range = (0.03, 0.2)
    photons: Range = (500.0, 5000.0)
    read_noise: Range = (1.0, 5.0)

    def __post_init__(self):
        _check_ranges(self, above_zero=("photons",), up_to_one=("exposure",))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        exposure, photons, read_noise = (
            _draw(value, rng) for value in (self.exposure, self.photons, self.read_noise)
        )
        light = count_photons(to_linear(image) * np.float32(exposure), photons, rng)
        light += np.float32(read_noise / photons) * rng.standard_normal(image.shape, np.float32)
        return to_srgb(light)


DEGRADATIONS = {
    "gaussian_noise": GaussianNoise,
    "poisson_noise": PoissonNoise,
    "motion_blur": MotionBlur,
    "defocus_blur": DefocusBlur,
    "rain_streaks": RainStreaks,
    "haze": Haze,
    "low_light": LowLight,
}


def parse_degradations(
    items: Iterable[Mapping[str, Any]], name: str = "data.degradations"
) -> Compose:
    """Makes degradations from a config, such as `({"kind": "gaussian_noise", "sigma": 25},)`.

    Args:
      items: one mapping each: `kind`, a key of `DEGRADATIONS`, and its fields.
      name: where they stand in the config, for messages.

    Raises:
      UserError: an unknown kind or field, or a value out of range.
    """
    steps = []
    for i, item in enumerate(items):
        where = f"{name}[{i}]"
        fields = dict(item)
        kind = fields.pop("kind", "")
        if kind not in DEGRADATIONS:
            hint = did_you_mean(str(kind), DEGRADATIONS)
            raise UserError(f"config.{where}.kind={kind!r}: {hint}")
        steps.append(parse_section(DEGRADATIONS[kind], fields, where))
    return Compose(tuple(steps))


def _draw(value: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def _check_ranges(
    step: Degradation,
    *,
    any_sign: tuple[str, ...] = (),
    above_zero: tuple[str, ...] = (),
    up_to_one: tuple[str, ...] = (),
) -> None:
    """Raises UserError unless every field is a number, or a pair in order, in its range."""
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        low, high = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
        where = f"{type(step).__name__}.{field.name}={value!r}"
        if isinstance(low, tuple) or not low <= high:
            raise UserError(f"{where}: give a number, or (low, high) with low <= high")
        if field.name not in any_sign and low < 0:
            raise UserError(f"{where} is negative; choose 0 or more")
        if field.name in above_zero and low == 0:
            raise UserError(f"{where} is zero; choose more")
        if field.name in up_to_one and high > 1:
            raise UserError(f"{where} is larger than 1; choose a number in 0..1")
