"""Samples of more than 8 bits, which Pillow reduces to 8, reads wrongly or not at all.

TIFF files go through tifffile (TIFF 6.0: tags and meanings of samples), PNG files through OpenCV;
PPM and PGM are plain.
"""

import io
import logging
import math
import re
import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from common.data.corrupt_images import CorruptImage
from common.data.orientation import orient, orientation_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # those with + are BigTIFF
_BETWEEN = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(_BETWEEN.join([rb"P([56])", rb"(\d+)", rb"(\d+)", rb"(\d+)\s"]))
_LONGEST_HEADER = 4096
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _CMYK = 0, 1, 2, 5
_UNSPECIFIED, _ASSOCIATED = 0, 1  # extra samples: no alpha; alpha that colours are multiplied by


def read_deep(data: bytes, page: int = 0) -> np.ndarray | None:
    """Reads an image of more than 8 bits the right way up.

    Args:
      data: the content of an image file of any kind.
      page: which one of a TIFF file.

    Returns:
      `[height, width, channels]` with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha); uint16
      of 65535, also from whole numbers of other depths, or float32 in 0..1. Colours are not
      multiplied by alpha and zero is black, whatever the file has. None if Pillow reads it.

    Raises:
      CorruptImage: broken data, or samples that have no known meaning as colours.
      Exception: of other types that decoders raise on broken data.
    """
    if data.startswith(_PNG):
        return _read_png(data) if data[24:25] == b"\x10" else None  # the bit depth
    if header := _PNM.match(data, 0, _LONGEST_HEADER):
        return _read_pnm(data, header)
    return _read_tiff(data, page) if data.startswith(_TIFF) else None


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFF files do."""
    return data.startswith(_TIFF)


def tiff_pages(data: bytes) -> list[int]:
    """Returns which pages of a TIFF file are pictures, not smaller copies or masks of others.

    Raises:
      CorruptImage: the chain of pages is broken.
      Exception: of other types, if the data is broken.
    """
    count = _count_pages(data)
    if count == 1:
        return [0]
    with _open_tiff(data) as file:
        pages = [file.pages[i] for i in range(count)]
        return [i for i, page in enumerate(pages) if not page.is_reduced and not page.is_mask] or [
            0
        ]


# ---------------------------------------------------------------- TIFF


def _open_tiff(data: bytes) -> "TiffFile":
    from tifffile import TiffFile  # 0.1 s, and most images are no TIFF

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # whatever it says is raised here
    return TiffFile(io.BytesIO(data))


def _count_pages(data: bytes) -> int:
    """By walking the chain, which may be cut off or bite its tail."""
    endian, is_big = "<" if data.startswith(b"II") else ">", data[2:4].count(b"+") > 0
    count_format, entry, offset_format = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    (at,) = struct.unpack_from(endian + offset_format, data, 8 if is_big else 4)
    seen = set()
    while at:
        if at in seen:
            raise CorruptImage("the pages of the file go round in a circle")
        seen.add(at)
        try:
            (tags,) = struct.unpack_from(endian + count_format, data, at)
            end = at + struct.calcsize(endian + count_format) + entry * tags
            (at,) = struct.unpack_from(endian + offset_format, data, end)
        except (struct.error, OverflowError) as error:
            raise CorruptImage(f"the file is cut off at page {len(seen)}") from error
    return max(len(seen), 1)


def _read_tiff(data: bytes, index: int) -> np.ndarray | None:
    with _open_tiff(data) as file:
        page = file.pages[index]
        if page.bitspersample <= 8 and page.samplesperpixel <= 4 and not _is_gray_by_alpha(page):
            return None
        _check(page, len(data))
        samples = _samples(page, data)
        orientation = page.tags.valueof(274, 1)
    return orient(_plain_colors(samples, page), orientation)


def _is_gray_by_alpha(page: "TiffPage") -> bool:
    """Whether gray is multiplied by alpha, which Pillow reads since version 13."""
    gray = page.photometric in (_MIN_IS_WHITE, _MIN_IS_BLACK)
    return gray and page.samplesperpixel == 2 and _ASSOCIATED in page.extrasamples


def _check(page: "TiffPage", size: int) -> None:
    """Refuses samples without a known meaning, and what is cut off or would not fit memory."""
    kind, channels, photometric = page.dtype, page.samplesperpixel, page.photometric
    if kind is None or kind.kind not in "uf" or (kind.kind == "u" and kind.itemsize > 4):
        raise CorruptImage(
            f"samples of type {kind or 'unknown'} have no black and white: save whole numbers"
            " without a sign of 8 or 16 bits, or floats in 0..1"
        )
    if photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _CMYK):
        name = getattr(photometric, "name", photometric)
        raise CorruptImage(f"colours of kind {name} with {page.bitspersample} bits: save RGB")
    if channels > 4 or page.imagedepth > 1 or (photometric == _CMYK and channels != 4):
        raise CorruptImage(
            f"{channels} channels: gray or RGB is taken, with or without transparency; save these"
        )
    _check_size(page.imagelength, page.imagewidth)
    is_whole = len(page.dataoffsets) >= math.prod(page.chunked)
    parts = zip(page.dataoffsets, page.databytecounts, strict=True)
    if not is_whole or any(not count or offset + count > size for offset, count in parts):
        raise CorruptImage("the file is cut off")


def _check_size(height: int, width: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and height * width > 2 * limit:
        raise Image.DecompressionBombError(f"{height * width} pixels, more than {2 * limit}")


def _samples(page: "TiffPage", data: bytes) -> np.ndarray:
    """Samples as stored, `[height, width, channels]`."""
    try:
        samples = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        samples = _by_opencv(page, data)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _by_opencv(page: "TiffPage", data: bytes) -> np.ndarray:
    """LZW, which most programs write, and what else OpenCV has without imagecodecs."""
    is_plain = page.bitspersample == 16 and page.planarconfig == 1 and page.index == 0
    samples = None
    if is_plain and page.photometric != _CMYK and page.samplesperpixel != 2:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        name = getattr(page.compression, "name", page.compression)
        raise CorruptImage(
            f"{name} compression needs imagecodecs: pip install 'multi-axis-jax[photos]'"
        )
    return samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def _plain_colors(samples: np.ndarray, page: "TiffPage") -> np.ndarray:
    """Samples as `read_deep` gives them."""
    if samples.dtype.kind == "f":
        low, high = np.min(samples), np.max(samples)
        if not (low >= 0 and high <= 1):  # also what is not a number
            raise CorruptImage(f"floats from {low:g} to {high:g}: white is 1, scale them to 0..1")
        samples, top = np.float32(samples), 1
    else:
        samples, top = _of_16_bits(samples, 2**page.bitspersample - 1), 65535
    if page.photometric == _CMYK:
        samples = _rgb_of_inks(samples, top)
    colors = 3 if page.photometric in (_RGB, _CMYK) else 1
    if samples.shape[2] < colors or samples.shape[2] > colors + 1:
        raise CorruptImage(f"{samples.shape[2]} channels, of which {colors} should be colours")
    if page.photometric == _MIN_IS_WHITE:
        samples = np.concatenate([top - samples[..., :1], samples[..., 1:]], axis=2)
    if colors == 3 and page.extrasamples and page.extrasamples[0] == _UNSPECIFIED:
        samples = samples[..., :3]
    if samples.shape[2] > colors and _ASSOCIATED in page.extrasamples:
        alpha = np.float64(samples[..., -1:])
        color = np.minimum(samples[..., :-1] * (top / np.maximum(alpha, top / 65535)), top)
        color = np.rint(color) if top > 1 else color
        samples = np.concatenate([color, alpha], axis=2).astype(samples.dtype)
    return samples


def _of_16_bits(samples: np.ndarray, white: int) -> np.ndarray:
    if white == 65535:
        return samples
    return np.rint(np.minimum(samples, white) * (65535 / white)).astype(np.uint16)


def _rgb_of_inks(samples: np.ndarray, top: int) -> np.ndarray:
    """Plainly, without a profile: those of inks are for 8 bits."""
    light = (top - samples.astype(np.float64)) / top
    rgb = light[..., :3] * light[..., 3:] * top
    return (np.rint(rgb) if top > 1 else rgb).astype(samples.dtype)


# ---------------------------------------------------------------- PNG


def _read_png(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.load()  # OpenCV returns half an image when data is truncated
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        raise CorruptImage("unsupported 16-bit file")
    color_type = data[25]
    if samples.ndim == 2:
        samples = samples[..., None]
    else:
        samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    has_color, has_alpha = color_type & 2, color_type & 4
    color = samples[..., :3] if has_color else samples[..., :1]
    if has_alpha:
        alpha = samples[..., -1:]
    elif (transparent := _transparent_color(data, 3 if has_color else 1)) is not None:
        alpha = np.where((color == transparent).all(-1, keepdims=True), 0, 65535)
    else:
        return orient(color, orientation_of(image))
    samples = np.concatenate([color, alpha.astype(np.uint16)], axis=2)
    return orient(samples, orientation_of(image))


def _transparent_color(data: bytes, channels: int) -> np.ndarray | None:
    """The one colour that the chunk tRNS makes transparent."""
    start = data.find(b"tRNS", 33, max(33, data.find(b"IDAT", 33)))
    if start < 0:
        return None
    return np.frombuffer(data[start + 4 : start + 4 + 2 * channels], ">u2")


# ---------------------------------------------------------------- PPM and PGM


def _read_pnm(data: bytes, header: re.Match[bytes]) -> np.ndarray | None:
    kind, width, height, white = map(int, header.groups())
    if not 255 < white <= 65535:
        return None
    _check_size(height, width)
    shape = height, width, 3 if kind == 6 else 1
    samples = np.frombuffer(data, ">u2", math.prod(shape), header.end()).reshape(shape)
    return _of_16_bits(samples.astype(np.uint16), white)
