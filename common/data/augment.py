"""RandAugment (arXiv:1909.13719) as the EfficientNet and MaxViT recipes use it, on Pillow images.

Operations, their order, ranges and constants are those of the official TensorFlow code
(tensorflow/tpu, models/official/efficientnet/autoaugment.py). What follows from its formulas at
magnitudes above 10, where it leaves the range it was written for:

* Posterize keeps `int(level * 4)` bits, so a *larger* magnitude changes less; from 8 bits on
  nothing (clamped: the original shifts by a negative number).
* Solarize's threshold `int(level * 256)` saturates at 255, as in the Model Garden: from magnitude
  10 on only pure white is inverted.
* Brightness, Color, Contrast and Sharpness extrapolate (factor 2.8 at magnitude 15) and clip.

One deliberate difference: Contrast blends with the true mean gray, as Pillow does; the original
takes the pixel count / 256 for it.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


class Sampling(NamedTuple):
    """How geometric operations read an image, and the colour of what comes in from outside."""

    resample: Image.Resampling = Image.Resampling.NEAREST
    fill: tuple[int, ...] = (128, 128, 128)


NEAREST = Sampling()
_MAX_LEVEL = 10  # the magnitude at which the formulas reach their nominal range


def auto_contrast(image: Image.Image) -> Image.Image:
    """Stretches every channel to 0..255."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image) -> Image.Image:
    """Makes every channel's histogram as even as it can be."""
    return ImageOps.equalize(image)


def invert(image: Image.Image) -> Image.Image:
    """Returns 255 - value."""
    return ImageOps.invert(image)


def rotate(image: Image.Image, degrees: float, sampling: Sampling = NEAREST) -> Image.Image:
    """Rotates counter-clockwise about the centre, same size."""
    return image.rotate(degrees, sampling.resample, fillcolor=sampling.fill)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keeps the highest `bits` (0..8) bits of every value."""
    return image.point([value & (0xFF00 >> bits) & 0xFF for value in range(256)] * 3)


def solarize(image: Image.Image, threshold: int) -> Image.Image:
    """Inverts values of `threshold` (0..256) and more."""
    return ImageOps.solarize(image, threshold)


def solarize_add(image: Image.Image, addition: int) -> Image.Image:
    """Adds to values below 128, up to 255."""
    table = [min(value + addition, 255) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


def color(image: Image.Image, factor: float) -> Image.Image:
    """Saturation: 0 gray, 1 unchanged."""
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """Contrast: 0 the mean gray everywhere, 1 unchanged."""
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Brightness: 0 black, 1 unchanged."""
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Sharpness: 0 smoothed, 1 unchanged."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def shear_x(image: Image.Image, slope: float, sampling: Sampling = NEAREST) -> Image.Image:
    """Shows at (x, y) what was at (x + slope * y, y)."""
    return _affine(image, (1, slope, 0, 0, 1, 0), sampling)


def shear_y(image: Image.Image, slope: float, sampling: Sampling = NEAREST) -> Image.Image:
    """Shows at (x, y) what was at (x, y + slope * x)."""
    return _affine(image, (1, 0, 0, slope, 1, 0), sampling)


def translate_x(image: Image.Image, pixels: float, sampling: Sampling = NEAREST) -> Image.Image:
    """Moves the image left (right when negative)."""
    return _affine(image, (1, 0, pixels, 0, 1, 0), sampling)


def translate_y(image: Image.Image, pixels: float, sampling: Sampling = NEAREST) -> Image.Image:
    """Moves the image up (down when negative)."""
    return _affine(image, (1, 0, 0, 0, 1, pixels), sampling)


def cutout(image: Image.Image, radius: int, center: tuple[int, int]) -> Image.Image:
    """Fills the square of side `2 * radius` around `center` (x, y) with gray."""
    x, y = center
    image = image.copy()
    image.paste(NEAREST.fill, (x - radius, y - radius, x + radius, y + radius))
    return image


def _affine(image: Image.Image, matrix: tuple[float, ...], sampling: Sampling) -> Image.Image:
    transform = Image.Transform.AFFINE
    return image.transform(
        image.size, transform, matrix, sampling.resample, fillcolor=sampling.fill
    )


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies `num_layers` operations, drawn uniformly with replacement, all at one magnitude.

    Call it with a uint8 `[height, width, 3]` image, or Pillow's, and a generator; the result is
    such an array of the same size.

    Attributes:
      num_layers: operations per image.
      magnitude: strength; 10 is the nominal maximum of the formulas, recipes go up to 30.
      translate_const: shift in pixels at magnitude 10, whatever the size of the image.
      cutout_const: half the side of the cut square in pixels at magnitude 10, likewise.
    """

    num_layers: int = 2
    magnitude: float = 15
    translate_const: float = 100
    cutout_const: float = 40

    def __call__(self, image: np.ndarray | Image.Image, rng: np.random.Generator) -> np.ndarray:
        pillow = image if isinstance(image, Image.Image) else Image.fromarray(image)
        for index in rng.integers(len(OPERATIONS), size=self.num_layers):
            pillow = self.apply(list(OPERATIONS)[index], pillow, rng)
        return np.asarray(pillow)

    def apply(self, name: str, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Applies one operation of `OPERATIONS` at this magnitude, with a random sign or place."""
        operation, argument = OPERATIONS[name]
        if argument is None:
            return operation(image)
        value = argument(self, self.magnitude / _MAX_LEVEL)
        if name == "Cutout":
            return operation(image, value, tuple(rng.integers(image.size)))
        if name in _SIGNED and rng.random() < 0.5:
            value = -value
        return operation(image, value)


def _enhancement(settings: RandAugment, level: float) -> float:
    return level * 1.8 + 0.1


def _slope(settings: RandAugment, level: float) -> float:
    return level * 0.3


def _shift(settings: RandAugment, level: float) -> float:
    return level * settings.translate_const


_SIGNED = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}

# Name: the operation and its argument as a function of the settings and magnitude / 10.
OPERATIONS: dict[str, tuple[Callable[..., Image.Image], Callable | None]] = {
    "AutoContrast": (auto_contrast, None),
    "Equalize": (equalize, None),
    "Invert": (invert, None),
    "Rotate": (rotate, lambda _, level: level * 30),
    "Posterize": (posterize, lambda _, level: min(int(level * 4), 8)),
    "Solarize": (solarize, lambda _, level: min(int(level * 256), 255)),
    "Color": (color, _enhancement),
    "Contrast": (contrast, _enhancement),
    "Brightness": (brightness, _enhancement),
    "Sharpness": (sharpness, _enhancement),
    "ShearX": (shear_x, _slope),
    "ShearY": (shear_y, _slope),
    "TranslateX": (translate_x, _shift),
    "TranslateY": (translate_y, _shift),
    "Cutout": (cutout, lambda settings, level: int(level * settings.cutout_const)),
    "SolarizeAdd": (solarize_add, lambda _, level: int(level * 110)),
}
