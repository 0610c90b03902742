"""What people give for an image, as the pixels that a restoration model takes."""

import os
from typing import Any

import numpy as np
from PIL import Image

from common.config import require
from common.data.given_array import given_array
from common.data.images import corrupt_image
from common.data.orientation import orient, orientation_of
from common.errors import UserError

_BEYOND = 0.5  # floats may leave 0..1 so far, as resized or restored images do
_WANTED = "give [height, width, 3], or [height, width] of gray"


def unit_pixels(image: Any) -> np.ndarray:
    """Returns an image as float32 `[height, width, 3]` of one.

    Args:
      image: `[height, width, 3]`, or gray: `[height, width]` or `[height, width, 1]`; floats in
        0..1, uint8 of 255 or uint16 of 65535; anything that NumPy makes such an array of, such as
        JAX's arrays; or an image of Pillow without transparency, which is turned upright.

    Raises:
      UserError: it is something else; the message says what is wanted.
    """
    require(
        not isinstance(image, str | bytes | os.PathLike),
        f"{str(image)[:60]!r} is no image: read files by maxim_jax.photos.read_photo",
    )
    is_pillow = isinstance(image, Image.Image)
    pixels = _of_pillow(image) if is_pillow else given_array(image, _WANTED)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    _check_shape(pixels)
    if pixels.dtype in (np.uint8, np.uint16):
        pixels = pixels / np.float32(np.iinfo(pixels.dtype).max)
    else:
        is_float = np.issubdtype(pixels.dtype, np.floating)
        kinds = "floats in 0..1, uint8 or uint16"
        require(is_float, f"an image of type {pixels.dtype}: give {kinds}")
        _check_range(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32, copy=False)


def _of_pillow(image: Image.Image) -> np.ndarray:
    has_alpha = image.has_transparency_data
    require(not has_alpha, f"an image with transparency ({image.mode}): give image.convert('RGB')")
    try:
        image.load()
        is_plain = image.mode in ("L", "RGB", "I", "F") or image.mode.startswith("I;16")
        pixels = np.asarray(image if is_plain else image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise about any type on broken data
        raise UserError(f"an image that can't be read: {corrupt_image(error)}") from error
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return orient(native, orientation_of(image))


def _check_shape(pixels: np.ndarray) -> None:
    shape = pixels.shape
    if pixels.ndim == 4:
        require(False, f"an image of shape {shape}: {_WANTED}, of a batch one at a time")
    if pixels.ndim == 3 and shape[2] not in (1, 3) and shape[0] in (1, 3):
        require(False, f"an image of shape {shape}: channels go last, np.moveaxis(image, 0, -1)")
    if pixels.ndim == 3 and shape[2] in (2, 4):
        require(False, f"an image of shape {shape}: {_WANTED}, without transparency")
    require(pixels.ndim == 3 and shape[2] in (1, 3), f"an image of shape {shape}: {_WANTED}")
    require(0 not in shape, f"an image of shape {shape} has no pixels")


def _check_range(pixels: np.ndarray) -> None:
    low, high = float(np.min(pixels)), float(np.max(pixels))
    require(np.isfinite(low) and np.isfinite(high), "an image with values that are not finite")
    require(
        low >= -_BEYOND and high <= 1 + _BEYOND,
        f"an image of floats from {low:.4g} to {high:.4g}: they are of 0..1; divide by the value of"
        " white, or give uint8",
    )
