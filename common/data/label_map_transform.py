"""What happens to an image and its label map between the source and the batch.

Small and importing little: worker processes load it on start.
"""

import dataclasses

import cv2
import numpy as np

from common.data.class_lists import IGNORED
from common.data.images import CorruptImage, decode
from common.data.label_maps import LabelMapExample
from common.data.resized_crops import (
    Limits,
    bilinear_crop,
    fitted_size,
    limit_factor,
    nearest_crop,
    scaled_size,
)
from common.errors import UserError

_TRIES = 10
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainLabelMap:
    """A random crop of the randomly scaled image, flipped, its colours changed.

    Called with an example and a generator, returns `image` uint8 `[size, size, 3]`, `label_map`
    uint8 `[size, size]` and `size` int32 `[2]`: height and width of what is image. The rest, at the
    bottom and the right, is padding: 0 in the image, 255 in the label map.

    Attributes:
      size: side in pixels.
      resize: first brings the image to the largest size, keeping its aspect, whose longer side is
        at most `max(resize)` and whose shorter side is at most `min(resize)`; None: its own size.
      scale: smallest and largest factor of the size, drawn evenly.
      max_class_share: of ten crops, the first in which no class has a larger share of the pixels
        that aren't ignored; the tenth if there is none. 1: the first crop.
      flip: mirror half of the images left to right.
      photometric: change brightness, contrast, saturation and hue, as SSD does.

    Raises:
      UserError: a number out of range.
    """

    size: int
    resize: Limits | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    max_class_share: float = 0.75
    flip: bool = True
    photometric: bool = False

    def __post_init__(self):
        least, most = self.scale
        if not 0 < least <= most:
            raise UserError(f"scale={self.scale} is no range of factors; such as (0.5, 2.0)")
        if not 0 < self.max_class_share <= 1:
            share = self.max_class_share
            raise UserError(f"max_class_share={share} is no share; nearest valid: 1.0 (no limit)")

    def __call__(self, example: LabelMapExample, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image, label_map = _decoded(example)
        factor = rng.uniform(*self.scale) * limit_factor(image.shape[:2], self.resize)
        full = scaled_size(image.shape[:2], factor)
        crop = min(self.size, full[0]), min(self.size, full[1])
        for _ in range(_TRIES):
            top, left = (int(rng.integers(a - b + 1)) for a, b in zip(full, crop, strict=True))
            part = nearest_crop(label_map, full, top, left, crop)
            if self.max_class_share >= 1 or _largest_share(part) <= self.max_class_share:
                break
        image, label_map = bilinear_crop(image, full, top, left, crop), part
        if self.flip and rng.random() < 0.5:
            image, label_map = image[:, ::-1], label_map[:, ::-1]
        if self.photometric:
            image = photometric_distortion(image, rng)
        return _padded(image, label_map, self.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalLabelMap:
    """The image at the size that training has, without chance.

    Called with an example, returns `image`, `label_map` and `size` (int32 `[2]`, height and width
    of what is image), as `TrainLabelMap`.

    Attributes:
      size: side of the central part that is kept; what is smaller is padded at the bottom and the
        right. None: all of the image, whose label map then keeps its own size.
      resize: as in `TrainLabelMap`.
    """

    size: int | None
    resize: Limits | None = None

    def __call__(self, example: LabelMapExample) -> dict[str, np.ndarray]:
        image, label_map = _decoded(example)
        full = fitted_size(image.shape[:2], self.resize)
        if self.size is None:
            image = bilinear_crop(image, full, 0, 0, full)
            return {"image": image, "label_map": label_map, "size": np.array(full, np.int32)}
        crop = min(self.size, full[0]), min(self.size, full[1])
        top, left = ((a - b) // 2 for a, b in zip(full, crop, strict=True))
        image = bilinear_crop(image, full, top, left, crop)
        return _padded(image, nearest_crop(label_map, full, top, left, crop), self.size)


def photometric_distortion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue, each of half of the images.

    As SSD's training has it, with MMSegmentation's numbers: adds up to 32, multiplies by 0.5 to
    1.5 (before saturation and hue or after them), multiplies saturation by 0.5 to 1.5, turns hue by
    up to 18 steps of 2 degrees. Every step rounds down to 8 bits.

    Args:
      image: uint8 `[height, width, 3]`.
      rng: source of randomness.

    Returns:
      uint8 `[height, width, 3]`.
    """
    if rng.integers(2):
        image = _linear(image, 1.0, rng.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    contrast_first = rng.integers(2)
    if contrast_first and rng.integers(2):
        image = _linear(image, rng.uniform(*_CONTRAST), 0.0)
    if rng.integers(2):
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], rng.uniform(*_SATURATION), 0.0)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.integers(2):
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int64) + rng.integers(-_HUE, _HUE)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not contrast_first and rng.integers(2):
        image = _linear(image, rng.uniform(*_CONTRAST), 0.0)
    return image


def _linear(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    table = np.clip(np.arange(256, dtype=np.float32) * factor + offset, 0, 255).astype(np.uint8)
    return table[values]


def _decoded(example: LabelMapExample) -> tuple[np.ndarray, np.ndarray]:
    image, label_map = decode(example["image"]), example["label_map"]
    if image.shape[:2] != label_map.shape:
        (a, b), (c, d) = image.shape[:2], label_map.shape
        raise CorruptImage(f"the image is {b}x{a}, its label map {d}x{c}")
    return image, label_map


def _largest_share(label_map: np.ndarray) -> float:
    counts = np.bincount(label_map.ravel(), minlength=256)[:IGNORED]
    return counts.max() / counts.sum() if counts.any() else 1.0  # there is nothing to learn


def _padded(image: np.ndarray, label_map: np.ndarray, size: int) -> dict[str, np.ndarray]:
    height, width = label_map.shape
    canvas = np.zeros((size, size, 3), np.uint8)
    labels = np.full((size, size), IGNORED, np.uint8)
    canvas[:height, :width], labels[:height, :width] = image, label_map
    return {"image": canvas, "label_map": labels, "size": np.array([height, width], np.int32)}
