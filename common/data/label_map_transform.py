"""What happens to an image and its label map between the source and the batch.

Small and importing little: worker processes load it on start. Images are resized by Pillow's
bilinear filter, which widens when it shrinks (antialiasing; enlarging, it is what OpenCV's
"linear" is); label maps take the nearest value. Both have the centres of pixels at half numbers, so
a boundary stays where it was. Only the part that is kept is resized: a crop after resizing and
resizing a crop are the same, since the filter still sees what lies around the crop.
"""

import dataclasses

import cv2
import numpy as np
from PIL import Image

from common.data.class_lists import IGNORED
from common.data.images import CorruptImage, decode
from common.data.label_maps import LabelMapExample
from common.errors import UserError

_TRIES = 10
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18
Limits = tuple[int, int]


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
        factor = rng.uniform(*self.scale) * _factor(image.shape[:2], self.resize)
        full = _scaled(image.shape[:2], factor)
        crop = min(self.size, full[0]), min(self.size, full[1])
        for _ in range(_TRIES):
            top, left = (int(rng.integers(a - b + 1)) for a, b in zip(full, crop, strict=True))
            part = _nearest(label_map, full, top, left, crop)
            if self.max_class_share >= 1 or _largest_share(part) <= self.max_class_share:
                break
        image, label_map = _bilinear(image, full, top, left, crop), part
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
            image = _bilinear(image, full, 0, 0, full)
            return {"image": image, "label_map": label_map, "size": np.array(full, np.int32)}
        crop = min(self.size, full[0]), min(self.size, full[1])
        top, left = ((a - b) // 2 for a, b in zip(full, crop, strict=True))
        image = _bilinear(image, full, top, left, crop)
        return _padded(image, _nearest(label_map, full, top, left, crop), self.size)


def fitted_size(
    shape: tuple[int, int], limits: Limits | None, factor: float = 1.0
) -> tuple[int, int]:
    """Returns the height and width that an image is resized to.

    Args:
      shape: height and width that it has.
      limits: as `TrainLabelMap.resize`.
      factor: of the size, beside that.
    """
    return _scaled(shape, factor * _factor(shape, limits))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a uint8 `[height, width, 3]` image to a height and width."""
    return _bilinear(image, size, 0, 0, size)


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


def _factor(shape: tuple[int, int], limits: Limits | None) -> float:
    if limits is None:
        return 1.0
    return min(max(limits) / max(shape), min(limits) / min(shape))


def _scaled(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (max(int(side * factor + 0.5), 1) for side in shape)
    return height, width


def _bilinear(
    image: np.ndarray, full: tuple[int, int], top: int, left: int, crop: tuple[int, int]
) -> np.ndarray:
    """The part `crop` at `(top, left)` of the image resized to `full`."""
    if full == image.shape[:2]:
        return image[top : top + crop[0], left : left + crop[1]]
    y, x = image.shape[0] / full[0], image.shape[1] / full[1]
    bottom = min((top + crop[0]) * y, image.shape[0])
    right = min((left + crop[1]) * x, image.shape[1])
    box = (left * x, top * y, right, bottom)
    resized = Image.fromarray(image).resize(crop[::-1], Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def _nearest(
    label_map: np.ndarray, full: tuple[int, int], top: int, left: int, crop: tuple[int, int]
) -> np.ndarray:
    """The same of a label map: the value at each new pixel's centre."""
    for axis, (start, length) in enumerate(zip((top, left), crop, strict=True)):
        have, want = label_map.shape[axis], full[axis]
        if have == want:
            positions = np.arange(start, start + length)
        else:  # in integers: a centre on a border belongs to the pixel after it
            positions = (2 * np.arange(start, start + length) + 1) * have // (2 * want)
        label_map = np.take(label_map, positions, axis)
    return label_map


def _largest_share(label_map: np.ndarray) -> float:
    counts = np.bincount(label_map.ravel(), minlength=256)[:IGNORED]
    return counts.max() / counts.sum() if counts.any() else 1.0  # there is nothing to learn


def _padded(image: np.ndarray, label_map: np.ndarray, size: int) -> dict[str, np.ndarray]:
    height, width = label_map.shape
    canvas = np.zeros((size, size, 3), np.uint8)
    labels = np.full((size, size), IGNORED, np.uint8)
    canvas[:height, :width], labels[:height, :width] = image, label_map
    return {"image": canvas, "label_map": labels, "size": np.array([height, width], np.int32)}
