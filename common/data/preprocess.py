"""From decoded pixels to model inputs: crops, resizes, shifts, flips and normalisation.

Everything works on one image on the host; randomness comes from the generator that is passed in.
Images stay uint8 until `normalize`, except for the official evaluation, which is float32 because
its resize is not rounded.
"""

import functools
import math

import numpy as np
from PIL import Image

from common.config import require
from common.data.images import Box, Part
from common.errors import UserError, did_you_mean

_LARGEST_SIDE = 1 << 14  # of the images that a model sees
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, on the 0..255 scale
IMAGENET_STD = (58.395, 57.12, 57.375)
HALF_RANGE = (127.5, 127.5, 127.5)  # as mean and as std: maps 0..255 to -1..1

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def normalize(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Returns `(image - mean) / std` in float32; works on NumPy and JAX arrays.

    Args:
      image: `[..., channels]`, values 0..255.
      mean: one number per channel, on the 0..255 scale.
      std: the same.
    """
    return (image.astype(np.float32) - np.float32(mean)) / np.float32(std)


def height_width(size: int | tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width of images whose size is a side, or these two."""
    return (size, size) if isinstance(size, int) else tuple(size)


def check_image_size(size: int | tuple[int, ...], where: str) -> None:
    """Raises UserError unless a size is a positive side, or a positive height and width."""
    sides = [size] if isinstance(size, int) else [*size]
    fits = 1 <= len(sides) <= 2 and all(0 < side <= _LARGEST_SIDE for side in sides)
    require(
        fits and (isinstance(size, int) or len(sides) == 2),
        f"{where}={size}: a side of 1 to {_LARGEST_SIDE} pixels, or a height and a width such as"
        " (224, 160)",
    )


def check_crop_fraction(share: float, size: int | tuple[int, ...], where: str) -> None:
    """Raises UserError unless it is a share, and images are not resized to far more than is kept.

    Args:
      share: of a resized image's side that the crop keeps.
      size: of the crop.
      where: the share is from, for the message.
    """
    require(0 < share <= 1, f"{where}={share}: use (0, 1]")
    resized = max(height_width(size)) / share
    most = f"photos would be resized to {resized:.3g} pixels, at most {_LARGEST_SIDE} are allowed"
    require(resized <= _LARGEST_SIDE, f"{where}={share}: {most}")


def check_normalization(
    mean: tuple[float, ...], std: tuple[float, ...], channels: tuple[int, ...] = (3,)
) -> None:
    """Raises UserError unless `config.data.mean` and `std` fit images of so many channels."""
    fits = len(mean) == len(std) and len(mean) in channels and min(std) > 0
    fits = fits and all(map(math.isfinite, (*mean, *std)))
    *first, last = map(str, channels)
    counts = " or ".join(filter(None, [", ".join(first), last]))
    require(fits, f"config.data.mean and std: {counts} finite numbers each, std positive")


def eval_official(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """The preprocessing of the official ImageNet evaluation (TensorFlow 1's, not antialiased).

    The central square of side `size / (size + 32)` of the shorter side, resized with
    `legacy_bicubic`.

    Args:
      image: uint8 `[height, width, 3]`.
      size: side of the result in pixels, or its height and width.

    Returns:
      float32 `[height, width, 3]` of the wanted size; the cubic overshoots, so values may leave
      0..255 a little.
    """
    top, left, height, width = central_part(*image.shape[:2], size)
    return legacy_bicubic(image[top : top + height, left : left + width], height_width(size))


def central_part(height: int, width: int, size: int | tuple[int, int]) -> Part:
    """Returns the central part of an image that the official evaluation resizes to `size`.

    For a height and width, which the official one has not: of the largest part of that aspect the
    share that the shorter side decides.

    Args:
      height: of the image in pixels.
      width: likewise.
      size: side in pixels after the resize that follows, or height and width; it decides how much
        is cut off.

    Returns:
      Top, left, height and width.
    """
    target = height_width(size)
    # In float32, like the original: the truncation must fall on the same side.
    kept = np.float32(min(target) / (min(target) + 32))
    largest = (
        min(height, width * target[0] / target[1]),
        min(width, height * target[1] / target[0]),
    )
    rows, columns = (max(int(kept * np.float32(side)), 1) for side in largest)
    return (height - rows + 1) // 2, (width - columns + 1) // 2, rows, columns


def legacy_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes as TensorFlow 1's `resize_bicubic` did.

    Source position = destination * scale (no half-pixel shift), Keys' cubic with a = -0.75,
    weights from a table of 1024 steps, edges clamped, no antialiasing, no clipping.

    Args:
      image: `[height, width, channels]`, uint8 or float32.
      size: target height and width in pixels.

    Returns:
      float32 `[*size, channels]`.
    """
    for axis, length in enumerate(size):
        taps, weights = _legacy_cubic_taps(image.shape[axis], length)
        weights = weights.reshape(4, *(-1 if a == axis else 1 for a in range(3)))
        parts = (
            np.take(image, tap, axis) * weight for tap, weight in zip(taps, weights, strict=True)
        )
        image = functools.reduce(np.add, parts)
    return image


@functools.lru_cache(maxsize=256)
def _legacy_cubic_taps(length: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """The four source positions of every target position and their weights, `[4, target]` each."""
    a, steps = np.float32(-0.75), 1024
    position = np.arange(target, dtype=np.float32) * np.float32(length / target)
    floor = np.floor(position)
    fraction = (np.rint((position - floor) * steps) / steps).astype(np.float32)

    def near(x: np.ndarray) -> np.ndarray:  # |x| <= 1
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: np.ndarray) -> np.ndarray:  # 1 <= |x| <= 2
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    weights = [far(fraction + 1), near(fraction), near(1 - fraction), far(2 - fraction)]
    taps = floor.astype(np.int64) + np.array([[-1], [0], [1], [2]])
    return np.clip(taps, 0, length - 1), np.stack(weights)


def eval_standard(
    image: np.ndarray,
    size: int | tuple[int, int],
    crop_fraction: float = 0.875,
    interpolation: str = "bicubic",
) -> np.ndarray:
    """Resizes the shorter side (antialiased), then crops the centre: what most libraries do.

    Args:
      image: uint8 `[height, width, 3]`.
      size: side of the result in pixels, or its height and width.
      crop_fraction: share of the resized image's side that the crop keeps, in (0, 1].
      interpolation: "nearest", "bilinear", "bicubic" or "lanczos".

    Returns:
      uint8 `[height, width, 3]` of the wanted size.
    """
    target = height_width(size)
    scale = max(
        math.floor(side / crop_fraction) / have
        for side, have in zip(target, image.shape[:2], strict=True)
    )
    # At least the target: a product like 3 * (7 / 3) may fall short by one rounding.
    resized = [
        max(int(have * scale + 1e-6), side)
        for side, have in zip(target, image.shape[:2], strict=True)
    ]
    image = resize_only(image, tuple(resized), interpolation)
    top, left = (round((r - t) / 2) for r, t in zip(resized, target, strict=True))
    return image[top : top + target[0], left : left + target[1]]


def resize_only(
    image: np.ndarray | Image.Image,
    size: int | tuple[int, int],
    interpolation: str = "bicubic",
    box: Box | None = None,
) -> np.ndarray | Image.Image:
    """Resizes the whole image, whatever its aspect; for data sets of one small size.

    Args:
      image: uint8 `[height, width, channels]`, of 1, 3 or 4 (the last alpha), or an RGB image of
        Pillow.
      size: side of the result in pixels, or its height and width.
      interpolation: "nearest", "bilinear", "bicubic" or "lanczos"; antialiased.
      box: the part to resize instead of the whole.

    Returns:
      uint8 `[height, width, channels]` of the wanted size; or such an image, if one was given.
    """
    height, width = height_width(size)
    if interpolation not in RESAMPLING:
        hint = did_you_mean(interpolation, RESAMPLING)
        raise UserError(f"unknown interpolation {interpolation!r}; {hint}")
    if isinstance(image, Image.Image):
        return image.resize((width, height), RESAMPLING[interpolation], box)
    if image.shape[:2] == (height, width) and box is None:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = picture.resize((width, height), RESAMPLING[interpolation], box)
    return np.asarray(resized).reshape(height, width, -1)


def inception_part(
    height: int,
    width: int,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Part:
    """Draws the part of an image that an "Inception" or "random resized" crop shows.

    As TensorFlow's `sample_distorted_bounding_box` does, which MaxViT's recipes use: aspect
    uniform, then the height uniform between those of the smallest and largest area.
    (`random_resized_part` is slightly smaller on average.) When no attempt fits, it is that of the
    official evaluation, `central_part`.

    Args:
      height: of the image in pixels.
      width: likewise.
      size: that the part is resized to: a side in pixels, or height and width.
      rng: source of randomness.
      area: smallest and largest share of the image's area, in (0, 1].
      aspect: smallest and largest width / height of the part.
      attempts: tries before the central part is taken.

    Returns:
      Top, left, height and width.
    """
    for _ in range(attempts):
        part = _sample_crop(height, width, rng, area, aspect)
        if part is not None:
            return part
    return central_part(height, width, size)


def random_resized_part(
    height: int,
    width: int,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Part:
    """The same as torchvision's `RandomResizedCrop` and timm draw it: area and log-aspect uniform.

    When no attempt fits, the centre is taken: the whole image, cut where its aspect is out of
    range.

    Args:
      height: as all others in `inception_part`.
      width: likewise.
      size: likewise; nothing depends on it.
      rng: likewise.
      area: likewise.
      aspect: likewise.
      attempts: likewise.

    Returns:
      Top, left, height and width.
    """
    for _ in range(attempts):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(*np.log(aspect)))
        part_width = max(round(math.sqrt(pixels * ratio)), 1)
        part_height = max(round(math.sqrt(pixels / ratio)), 1)
        if part_width <= width and part_height <= height:
            top = int(rng.integers(height - part_height + 1))
            left = int(rng.integers(width - part_width + 1))
            return top, left, part_height, part_width
    part_width = max(min(width, round(height * aspect[1])), 1)
    part_height = max(min(height, round(width / aspect[0])), 1)
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


def resize_part(
    part: np.ndarray | Image.Image,
    size: int | tuple[int, int],
    interpolation: str,
    box: Box | None = None,
) -> np.ndarray | Image.Image:
    """Resizes the part of an image that a training crop shows.

    Args:
      part: uint8 `[height, width, channels]`, or an RGB image of Pillow.
      size: side of the result in pixels, or its height and width.
      interpolation: "nearest", "bilinear", "bicubic", "lanczos" (all antialiased), or
        "legacy_bicubic", the official release's, rounded to uint8.
      box: where the part lies, if that image is more; not for "legacy_bicubic".

    Returns:
      uint8 `[height, width, channels]` of the wanted size; or such an image, if one was given.
    """
    if interpolation != "legacy_bicubic":
        return resize_only(part, size, interpolation, box)
    resized = legacy_bicubic(np.asarray(part), height_width(size))
    resized = np.rint(np.clip(resized, 0, 255)).astype(np.uint8)
    return Image.fromarray(resized) if isinstance(part, Image.Image) else resized


def _sample_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[int, int, int, int] | None:
    """Returns top, left, height, width of a crop, or None when the draw doesn't fit."""
    ratio = rng.uniform(*aspect)
    smallest, largest = (share * height * width for share in area)
    lower = round(math.sqrt(smallest / ratio))
    upper = min(round(math.sqrt(largest / ratio)), int((width + 0.5) / ratio), height)
    crop_height = max(int(rng.integers(min(lower, upper), upper + 1)), 1)
    crop_width = max(round(crop_height * ratio), 1)
    if crop_width > width or not smallest <= crop_height * crop_width <= largest:
        return None
    top = int(rng.integers(height - crop_height + 1))
    left = int(rng.integers(width - crop_width + 1))
    return top, left, crop_height, crop_width


def draw_interpolation(interpolation: str, rng: np.random.Generator) -> str:
    """Returns "bilinear" or "bicubic" with equal probability for "random", else what was given."""
    if interpolation == "random":
        return "bilinear" if rng.random() < 0.5 else "bicubic"
    return interpolation


def random_flip(
    image: np.ndarray | Image.Image, rng: np.random.Generator
) -> np.ndarray | Image.Image:
    """Mirrors `[height, width, channels]` left to right with probability one half."""
    if rng.random() >= 0.5:
        return image
    if isinstance(image, Image.Image):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image[:, ::-1]


def random_shift(
    image: np.ndarray, rng: np.random.Generator, pixels: int, fill: int = 0
) -> np.ndarray:
    """Moves the image by up to `pixels` along both axes (pad, then crop at random).

    Args:
      image: `[height, width, channels]`.
      rng: source of randomness.
      pixels: largest distance, 0 or more; all whole distances are equally likely.
      fill: value of the pixels that come in.
    """
    height, width = image.shape[:2]
    padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), constant_values=fill)
    top, left = rng.integers(2 * pixels + 1, size=2)
    return padded[top : top + height, left : left + width]
