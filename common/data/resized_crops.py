"""Parts of resized images, and of the label maps or masks that belong to them.

Images are resized by Pillow's bilinear filter, which widens when it shrinks (antialiasing;
enlarging, it is what OpenCV's "linear" is); label maps and masks take the nearest value. Both have
the centres of pixels at half numbers, so a boundary stays where it was. Only the part that is kept
is resized: a crop after resizing and resizing a crop are the same, since the filter still sees what
lies around the crop.
"""

import numpy as np
from PIL import Image

Limits = tuple[int, int]


def limit_factor(shape: tuple[int, int], limits: Limits | None) -> float:
    """Returns the largest factor of the size that keeps to the limits, 1 if there are none.

    Args:
      shape: height and width.
      limits: the longer side becomes at most the larger, the shorter at most the smaller of them.
    """
    if limits is None:
        return 1.0
    return min(max(limits) / max(shape), min(limits) / min(shape))


def fit_factor(shape: tuple[int, int], canvas: tuple[int, int]) -> float:
    """Returns the largest factor of a height and width that keeps both within the canvas's."""
    return min(canvas[0] / shape[0], canvas[1] / shape[1])


def scaled_size(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Returns height and width, rounded half up, multiplied by a factor; at least 1."""
    height, width = (max(int(side * factor + 0.5), 1) for side in shape)
    return height, width


def fitted_size(
    shape: tuple[int, int], limits: Limits | None, factor: float = 1.0
) -> tuple[int, int]:
    """Returns the height and width that an image is resized to.

    Args:
      shape: height and width that it has.
      limits: as in `limit_factor`.
      factor: of the size, beside that.
    """
    return scaled_size(shape, factor * limit_factor(shape, limits))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a uint8 `[height, width, 3]` image to a height and width."""
    return bilinear_crop(image, size, 0, 0, size)


def bilinear_crop(
    image: np.ndarray, full: tuple[int, int], top: int, left: int, crop: tuple[int, int]
) -> np.ndarray:
    """Returns the part `crop` at `(top, left)` of an image resized to `full`.

    Args:
      image: uint8 `[height, width, 3]`.
      full: height and width of all of it.
      top: first row of the part.
      left: its first column.
      crop: its height and width.

    Returns:
      uint8 `[*crop, 3]`.
    """
    if full == image.shape[:2]:
        return image[top : top + crop[0], left : left + crop[1]]
    y, x = image.shape[0] / full[0], image.shape[1] / full[1]
    bottom = min((top + crop[0]) * y, image.shape[0])
    right = min((left + crop[1]) * x, image.shape[1])
    box = (left * x, top * y, right, bottom)
    resized = Image.fromarray(image).resize(crop[::-1], Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def nearest_crop(
    values: np.ndarray, full: tuple[int, int], top: int, left: int, crop: tuple[int, int]
) -> np.ndarray:
    """Returns the same part of label maps or masks: the value at each new pixel's centre.

    Args:
      values: `[..., height, width]`.
      full: as for `bilinear_crop`, like all others.

    Returns:
      `[..., *crop]`.
    """
    for axis, start, length, want in zip((-2, -1), (top, left), crop, full, strict=True):
        have = values.shape[axis]
        if have == want:
            positions = np.arange(start, start + length)
        else:  # in integers: a centre on a border belongs to the pixel after it
            positions = (2 * np.arange(start, start + length) + 1) * have // (2 * want)
        values = np.take(values, positions, axis)
    return values
