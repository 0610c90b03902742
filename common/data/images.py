"""Decoding image files of every common kind to 8-bit RGB, or gray, or RGB with alpha.

Pillow reads everything but what has more than 8 bits, which it reduces by dropping the low byte
(or can't read at all): `common.data.deep_images`.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageChops

from common.data.corrupt_images import CorruptImage, corrupt_image
from common.data.deep_images import read_deep
from common.data.orientation import orient, orientation_of

Part = tuple[int, int, int, int]  # of an image: top, left, height, width
Box = tuple[float, float, float, float]  # left, top, right, bottom
CHANNELS = (1, 3, 4)  # of images: gray, RGB, RGB and alpha
_WHITE = 255
# For each byte of a file: JPEG takes a bit for 64 pixels at least, deflate repeats at most 1,032
# times what may have 8 pixels in a byte.
_MOST_PIXELS = {"JPEG": 8 * 64, "PNG": 8 * 1032}
_JPEG_SCALES = (1, 2, 4, 8)
_TURNED, _SIDEWAYS = range(2, 9), range(5, 9)  # values of EXIF's Orientation
_QUIET_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def decode(
    data: bytes | np.ndarray | Image.Image, *, min_side: int | None = None, channels: int = 3
) -> np.ndarray:
    """Decodes an image to RGB as a person would see it.

    EXIF orientation is applied, transparent pixels show a white background, CMYK JPEGs are read
    with and without Adobe's inversion, 16-bit values become `round(v * 255 / 65535)`, those of
    floats in 0..1 `round(v * 255)`, and of an animation the first frame is taken.

    Args:
      data: the content of an image file; or pixels, uint8 or uint16, `[height, width]` or
        `[height, width, channels]` with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); or an
        image of Pillow.
      min_side: lets a JPEG be read at 1/2, 1/4 or 1/8 of its size, which is several times faster,
        as long as both sides stay at least this long. For small pictures only: pixels differ from
        an exact reading.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      CorruptImage: broken, truncated or unknown data, an unsupported pixel type, or an image large
        enough to be a decompression bomb (Pillow's limit, 179 million pixels; or more than the
        file's bytes can hold).
    """
    if isinstance(data, np.ndarray):
        return _of_samples(data, channels)
    with _broken_data_told():
        image = data if isinstance(data, Image.Image) else _opened(data)
        if isinstance(image, np.ndarray):
            return _of_samples(image, channels)
        if min_side and image.format == "JPEG":
            image.draft(None, (min_side, min_side))
        return _upright_pixels(image, channels)


def decode_part(
    data: bytes | np.ndarray,
    draw: Callable[[int, int], Part],
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
) -> tuple[np.ndarray | Image.Image, Box | None]:
    """Decodes a part of an image, no finer than is needed for the size that it is resized to.

    Args:
      data: as for `decode`, but no image of Pillow.
      draw: takes the image's height and width, as `decode` would return it, and says which part:
        top, left, height and width.
      size: lets a JPEG be read at 1/2, 1/4 or 1/8 of its size, as long as the part's height and
        width stay at least these. For training crops only: pixels differ from an exact reading.
      channels: of the result.

    Returns:
      An RGB image of Pillow where that saves copies, else uint8 `[height, width, channels]`; and
      None if that is the part. Else it is all of the image, at a part of its size, and this says
      where the part lies in it.

    Raises:
      CorruptImage: as for `decode`.
    """
    with _broken_data_told():
        image = data if isinstance(data, np.ndarray) else _opened(data)
        if isinstance(image, np.ndarray):
            image = _of_samples(image, channels)
        elif image.format != "JPEG":  # a header may tell another size than the pixels have
            image.load()
            image = _plain(image, channels)
        full = image.shape[:2] if isinstance(image, np.ndarray) else _upright_size(image)
    top, left, height, width = draw(*full)
    with _broken_data_told():
        if not isinstance(image, np.ndarray):
            scale = _coarsest((height, width), size) if size and image.format == "JPEG" else 1
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            image.load()
            image = _plain(image, channels)
            if scale > 1:
                corners = left, top, left + width, top + height
                return image, tuple(corner / scale for corner in corners)
        if isinstance(image, np.ndarray):
            return image[top : top + height, left : left + width], None
        return image.crop((left, top, left + width, top + height)), None


def _coarsest(part: tuple[int, int], size: tuple[int, int]) -> int:
    """By how much a part can be reduced and still has `size`, of what JPEG decoders offer."""
    room = min(have // wanted for have, wanted in zip(part, size, strict=True))
    return max(scale for scale in _JPEG_SCALES if scale <= max(room, 1))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of a JPEG, or of a loaded image, as it was held."""
    return image.size if orientation_of(image) in _SIDEWAYS else image.size[::-1]


def _plain(image: Image.Image, channels: int) -> np.ndarray | Image.Image:
    """A loaded 8-bit image as it is if that is upright RGB, else its pixels in that way."""
    is_rgb = channels == 3 and image.mode == "RGB" and not image.has_transparency_data
    if is_rgb and orientation_of(image) not in _TURNED:
        return image
    return _upright_pixels(image, channels)


@contextlib.contextmanager
def _broken_data_told() -> Iterator[None]:
    """Raises CorruptImage for what decoders raise on broken data, which is about any type."""
    quiet_pillow()
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise corrupt_image(error) from error


def _opened(data: bytes) -> np.ndarray | Image.Image:
    """Pixels of 16 bits; or Pillow's image, not loaded."""
    if (samples := read_deep(data)) is not None:
        return np.uint16(np.rint(samples * 65535)) if samples.dtype == np.float32 else samples
    image = Image.open(io.BytesIO(data))
    _require_plausible(image, len(data))
    return image


def _upright_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """An 8-bit image as uint8 `[height, width, channels]`, as it was held."""
    image.load()
    pixels = _of_image(image, channels)
    orientation = orientation_of(image)  # after load: Pillow has turned TIFFs by then
    return np.ascontiguousarray(orient(pixels, orientation))


def _require_plausible(image: Image.Image, size: int) -> None:
    """Looks at the header before there is memory for all the pixels that it promises."""
    most = _MOST_PIXELS.get(image.format)
    if most and image.width * image.height > most * size:
        promised = f"its header promises {image.width}x{image.height} pixels"
        raise CorruptImage(f"{promised}, which {size:,} bytes can't hold")


def quiet_pillow() -> None:
    """Silences the warnings that Pillow gives about odd files, for this process."""
    if _QUIET_PILLOW not in warnings.filters:  # `catch_warnings` would not be thread-safe
        warnings.filterwarnings("ignore", module=r"PIL\.")


def read_rgb8(image: Image.Image) -> np.ndarray:
    """A loaded 8-bit image as uint8 `[height, width, 3]`."""
    if image.mode in ("I", "F"):
        raise CorruptImage(f"unsupported pixel type {image.mode!r} (32-bit)")
    if image.mode.startswith("I;16"):
        return _rgb8(np.asarray(image))
    if image.has_transparency_data:
        return _rgb8(_rgba(image))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one
    return np.asarray(image.convert("RGB"))


def _of_image(image: Image.Image, channels: int) -> np.ndarray:
    """A loaded 8-bit image as uint8 `[height, width, channels]`."""
    if channels == 4 and image.has_transparency_data:
        return _rgba(image)
    return _of_samples(read_rgb8(image), channels)


def _rgba(image: Image.Image) -> np.ndarray:
    """A loaded 8-bit image with transparency as uint8 `[height, width, 4]`."""
    plain = image.convert("LA") if image.mode == "La" else image  # Pillow's only way to RGBA
    return np.asarray(plain.convert("RGBA"))


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether samples have 16 bits, which the mode of a Pillow image doesn't tell."""
    if image.format == "PNG":
        return data[24] == 16  # the bit depth in the header chunk
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,))) == 16 and image.mode != "F"
    return image.mode.startswith("I;16")


def _of_samples(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Gray, gray-alpha, RGB or RGBA pixels of 8 or 16 bits as uint8 `[height, width, channels]`."""
    if channels == 4:
        return _rgba8(pixels)
    rgb = _rgb8(pixels)
    return rgb if channels == 3 else np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def _rgb8(pixels: np.ndarray) -> np.ndarray:
    """Such pixels as uint8 `[height, width, 3]`, on white."""
    pixels = _checked(pixels)
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


def _rgba8(pixels: np.ndarray) -> np.ndarray:
    """Such pixels as uint8 `[height, width, 4]`."""
    pixels = _checked(pixels)
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels * (_WHITE / 65535)).astype(np.uint8)
    if pixels.shape[2] in (1, 3):
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    color = np.broadcast_to(pixels[..., :-1], (*pixels.shape[:2], 3))
    return np.concatenate([color, pixels[..., -1:]], axis=-1)


def _checked(pixels: np.ndarray) -> np.ndarray:
    """`[height, width, channels]` of what may be an image."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        wanted = "[height, width], or [height, width, channels] of 1 to 4 channels"
        raise CorruptImage(f"pixels of shape {pixels.shape} are not an image: {wanted}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CorruptImage(
            f"pixels of type {pixels.dtype}: uint8 (0..255) or uint16 (0..65535) wanted"
        )
    return pixels
