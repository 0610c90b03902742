"""RandAugment as timm's `rand-m9-mstd0.5-inc1`: the recipe of DeiT, PoolFormer and its heirs.

It differs from `common.data.augment.RandAugment`: a larger magnitude always changes more, each
operation is skipped half of the time, its magnitude varies from image to image, shifts are shares
of the image, geometric operations interpolate, and what comes in has the colour of the data set's
mean. No Cutout: that is `common.data.erase`. timm leaves out colour jitter where RandAugment is on,
whatever its settings say; so there is none here.

Source: timm, timm/data/auto_augment.py and transforms_factory.py.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

from common.data import augment
from common.data.preprocess import RESAMPLING, draw_interpolation

_MAX_MAGNITUDE = 10


@dataclasses.dataclass(frozen=True)
class IncreasingRandAugment:
    """Draws `num_layers` operations uniformly with replacement and applies each by chance.

    Call it with a uint8 `[height, width, 3]` image, or Pillow's, and a generator; the result is
    such an array of the same size.

    Attributes:
      num_layers: operations drawn per image.
      magnitude: mean strength; 10 is the maximum.
      magnitude_std: standard deviation of the strength, which is then clipped to 0..10.
      probability: of applying an operation that was drawn.
      interpolation: of rotations, shears and shifts; `"random"`: bilinear or bicubic, each time.
      fill: RGB of what comes in from outside.
    """

    num_layers: int = 2
    magnitude: float = 9
    magnitude_std: float = 0.5
    probability: float = 0.5
    interpolation: str = "random"
    fill: tuple[int, ...] = augment.NEAREST.fill

    def __call__(self, image: np.ndarray | Image.Image, rng: np.random.Generator) -> np.ndarray:
        pillow = image if isinstance(image, Image.Image) else Image.fromarray(image)
        for index in rng.integers(len(OPERATIONS), size=self.num_layers):
            if rng.random() < self.probability:
                magnitude = np.clip(rng.normal(self.magnitude, self.magnitude_std), 0, 10)
                pillow = self.apply(list(OPERATIONS)[index], pillow, float(magnitude), rng)
        return np.asarray(pillow)

    def apply(
        self, name: str, image: Image.Image, magnitude: float, rng: np.random.Generator
    ) -> Image.Image:
        """Applies one operation of `OPERATIONS` with a random sign where it has one."""
        operation, argument = OPERATIONS[name]
        if argument is None:
            return operation(image)
        sign = 1 if rng.random() < 0.5 else -1
        value = argument(magnitude / _MAX_MAGNITUDE, sign)
        if name not in _GEOMETRIC:
            return operation(image, value)
        if name.startswith("Translate"):
            value *= image.size["XY".index(name[-1])]
        resample = RESAMPLING[draw_interpolation(self.interpolation, rng)]
        return operation(image, value, augment.Sampling(resample, self.fill))


def _enhancement(level: float, sign: int) -> float:
    """1 changes nothing; 0.1 and 1.9 are the ends."""
    return max(0.1, 1 + sign * 0.9 * level)


def _slope(level: float, sign: int) -> float:
    return sign * 0.3 * level


def _share(level: float, sign: int) -> float:
    """Of the image's side."""
    return sign * 0.45 * level


_GEOMETRIC = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}

# Name: the operation and its argument as a function of magnitude / 10 and a random sign.
OPERATIONS: dict[str, tuple[Callable[..., Image.Image], Callable | None]] = {
    "AutoContrast": (augment.auto_contrast, None),
    "Equalize": (augment.equalize, None),
    "Invert": (augment.invert, None),
    "Rotate": (augment.rotate, lambda level, sign: sign * 30 * level),
    "Posterize": (augment.posterize, lambda level, _: 4 - int(level * 4)),
    "Solarize": (augment.solarize, lambda level, _: 256 - int(level * 256)),
    "SolarizeAdd": (augment.solarize_add, lambda level, _: int(level * 110)),
    "Color": (augment.color, _enhancement),
    "Contrast": (augment.contrast, _enhancement),
    "Brightness": (augment.brightness, _enhancement),
    "Sharpness": (augment.sharpness, _enhancement),
    "ShearX": (augment.shear_x, _slope),
    "ShearY": (augment.shear_y, _slope),
    "TranslateX": (augment.translate_x, _share),
    "TranslateY": (augment.translate_y, _share),
}
