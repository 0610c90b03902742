"""Decoding image files of every common kind to 8-bit RGB.

Pillow reads everything but multi-channel 16-bit files, which it reduces by dropping the low byte
(or can't read at all); those go through OpenCV.
"""

import io
import re
import warnings

import cv2
import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

_ORIENTATION_TAG = 0x0112
_WHITE = 255
_QUIET_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class CorruptImage(ValueError):
    """An image file that can't be read; the message says why, the pipeline adds which file."""


def corrupt_image(error: Exception) -> CorruptImage:
    """Returns what to raise for whatever a decoder raised."""
    if isinstance(error, CorruptImage):
        return error
    if isinstance(error, UnidentifiedImageError):  # its text names a buffer's address
        return CorruptImage("not an image of a known format")
    return CorruptImage(f"{type(error).__name__}: {error}")


def decode(data: bytes | np.ndarray, *, min_side: int | None = None) -> np.ndarray:
    """Decodes an image to RGB as a person would see it.

    EXIF orientation is applied, transparent pixels show a white background, CMYK JPEGs are read
    with and without Adobe's inversion, 16-bit values become `round(v * 255 / 65535)`, and of an
    animation the first frame is taken.

    Args:
      data: the content of an image file; or pixels, uint8 or uint16, `[height, width]` or
        `[height, width, channels]` with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha).
      min_side: lets a JPEG be read at 1/2, 1/4 or 1/8 of its size, which is several times faster,
        as long as both sides stay at least this long. For training crops only: pixels differ from
        an exact reading.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      CorruptImage: broken, truncated or unknown data, an unsupported pixel type, or an image large
        enough to be a decompression bomb (Pillow's limit, 179 million pixels).
    """
    if isinstance(data, np.ndarray):
        return _rgb8(data)
    quiet_pillow()
    try:
        image = Image.open(io.BytesIO(data))
        if min_side and image.format == "JPEG":
            image.draft(None, (min_side, min_side))
        deep = is_deep(image, data)
        image.load()  # also for deep images: OpenCV returns half an image when data is truncated
        pixels = _read_deep(data) if deep else read_rgb8(image)
        orientation = orientation_of(image)  # after load: Pillow has turned TIFFs by then
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise about any type on broken data
        raise corrupt_image(error) from error
    return np.ascontiguousarray(orient(pixels, orientation))


def quiet_pillow() -> None:
    """Silences the warnings that Pillow gives about odd files, for this process."""
    if _QUIET_PILLOW not in warnings.filters:  # `catch_warnings` would not be thread-safe
        warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb8(image: Image.Image) -> np.ndarray:
    """A loaded 8-bit image as uint8 `[height, width, 3]`."""
    if image.mode in ("I", "F"):
        raise CorruptImage(f"unsupported pixel type {image.mode!r} (32-bit)")
    if image.has_transparency_data:
        return _rgb8(np.asarray(image.convert("RGBA")))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one
    return np.asarray(image.convert("RGB"))


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether samples have 16 bits, which the mode of a Pillow image doesn't tell."""
    if image.format == "PNG":
        return data[24] == 16  # the bit depth in the header chunk
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,))) == 16 and image.mode != "F"
    return image.mode.startswith("I;16")


def _read_deep(data: bytes) -> np.ndarray:
    """A 16-bit file as uint8 `[height, width, 3]`."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise CorruptImage("unsupported 16-bit file")
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]  # BGR to RGB, alpha stays
    return _rgb8(pixels)


def _rgb8(pixels: np.ndarray) -> np.ndarray:
    """Gray, gray-alpha, RGB or RGBA pixels of 8 or 16 bits as uint8 `[height, width, 3]`."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise CorruptImage(f"pixels of shape {pixels.shape} are not an image")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CorruptImage(f"pixels of type {pixels.dtype}; uint8 or uint16 wanted")
    top = np.iinfo(pixels.dtype).max
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:].astype(np.float64) / top
        color = pixels[..., :-1] * (alpha * _WHITE / top) + (1 - alpha) * _WHITE
    elif top != _WHITE:
        color = pixels * (_WHITE / top)
    else:
        color = pixels
    if color.dtype != np.uint8:
        color = np.rint(color).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(color, (*color.shape[:2], 3)))


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF tag Orientation, 1 (upright) where there is none."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata doesn't make the pixels bad
        return 1


def orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes how the camera was held (EXIF 2.3, tag Orientation)."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels
