"""Photographs in and out: pixels for a model, and all else that a file must keep.

Kept are the number of bits (8, 16, floats of 32), gray, alpha, all pages or frames, the ICC
profile, what PNG says of colours, resolution, texts, EXIF and XMP. EXIF orientation is applied and
then left out, as are embedded thumbnails. CMYK becomes RGB.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

from common.config import require
from common.data import images
from common.data.deep_images import is_tiff, read_deep, tiff_pages
from common.data.images import CorruptImage
from common.data.orientation import orient, orientation_of
from common.errors import UserError
from common.unfinished import write_bytes
from maxim_jax.photo_encoders import encode, encode_animation, encode_png16, encode_tiff
from maxim_jax.photo_info import PhotoInfo
from maxim_jax.photo_metadata import read_metadata, unwritable

# What can be written, by suffix.
FORMATS = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
}
_TOP = {8: np.uint8(255), 16: np.uint16(65535), 32: np.float32(1)}  # opaque, white
_DEEPEST = {"PNG": 16, "TIFF": 32}
_ALPHA = {"PNG", "TIFF", "WEBP"}
_ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}  # whose pictures are frames


def read_photo(path: Path) -> tuple[np.ndarray, PhotoInfo]:
    """Reads any photo the right way up; of several pages or frames, the first.

    Args:
      path: an image file of any kind.

    Returns:
      float32 `[height, width, 3]` in 0..1 with the colors as stored, also where transparent, and
      what else is to be written back.

    Raises:
      CorruptImage: broken, truncated or unknown data, an unsupported pixel type, or more pixels
        than `PIL.Image.MAX_IMAGE_PIXELS` twice.
      OSError: the file can't be read.
    """
    return next(read_pages(path))


def read_pages(path: Path) -> Iterator[tuple[np.ndarray, PhotoInfo]]:
    """Reads all pages of a TIFF file or all frames of an animation, of others the one picture.

    Args:
      path: an image file of any kind.

    Yields:
      What `read_photo` returns.

    Raises:
      CorruptImage, OSError: see `read_photo`.
    """
    data = path.read_bytes()
    images.quiet_pillow()
    with _corrupt_images():
        image, numbers, lost = _open(data)
    for number in numbers:
        with _corrupt_images():
            page = _read_page(data, image, number, len(numbers), lost)
        yield page


def require_writable(path: Path, info: PhotoInfo) -> str:
    """Returns the format that a path's suffix stands for.

    Raises:
      UserError: the format is unknown, or has no transparency or no pages where the photo has.
    """
    kind = FORMATS.get(path.suffix.lower())
    require(kind is not None, f"can't write {path}: choose from {', '.join(FORMATS)}")
    require(
        info.alpha is None or kind in _ALPHA,
        f"can't write {path}: {kind} has no transparency, PNG has",
    )
    takes = "TIFF has" if info.loop is None else "PNG has"
    require(
        info.pages == 1 or kind == "TIFF" or (kind in _ANIMATED and info.loop is not None),
        f"can't write {path}: {kind} does not have {info.pages} pages or frames, {takes}",
    )
    return kind


def write_photo(
    path: Path, pixels: np.ndarray, info: PhotoInfo, *, jpeg_quality: int = 95
) -> tuple[str, ...]:
    """Writes a photo in the format of the path's suffix, complete or not at all.

    Values are clipped and rounded. A gray photo is the mean of the channels. Formats without 16
    bits (all but PNG and TIFF) get 8, those without floats (all but TIFF) 16 or 8.

    Args:
      path: to write; its folder is made, a file that is there is replaced.
      pixels: float32 `[height, width, 3]` in 0..1 or beyond.
      info: what else the photo has.
      jpeg_quality: 1..100, for JPEG; the other formats are written without loss.

    Returns:
      In words, what the photo had and the file has not.

    Raises:
      UserError: see `require_writable`; or the format can't hold a photo of this size.
    """
    info = dataclasses.replace(info, pages=1, loop=None)
    return write_pages(path, [(pixels, info)], jpeg_quality=jpeg_quality)


def write_pages(
    path: Path, pages: Iterable[tuple[np.ndarray, PhotoInfo]], *, jpeg_quality: int = 95
) -> tuple[str, ...]:
    """Writes pages of a TIFF file or frames of an animation; or one photo, as `write_photo` does.

    Args:
      path: to write; its folder is made, a file that is there is replaced.
      pages: one at least, in order; taken one at a time.
      jpeg_quality: see `write_photo`.

    Returns:
      See `write_photo`.

    Raises:
      UserError: see `write_photo`.
    """
    pages = iter(pages)
    pixels, first = next(pages)
    kind, size = require_writable(path, first), pixels.shape[1::-1]
    deepest = 8 if first.pages > 1 and kind != "TIFF" else _DEEPEST.get(kind, 8)
    quantised = (
        (_samples(page, info, deepest), info)
        for page, info in itertools.chain([(pixels, first)], pages)
    )
    try:
        if kind == "TIFF":
            data = encode_tiff(quantised)
        elif first.pages > 1:
            data = encode_animation([*quantised], kind)
        else:
            samples, _ = next(quantised)
            if samples.dtype == np.uint16:
                data = encode_png16(samples, first)
            else:
                data = encode(samples, kind, first, jpeg_quality)
    except (CorruptImage, UserError):  # of a later page
        raise
    except (OSError, ValueError) as error:  # Pillow's encoders: beyond a format's limits
        raise UserError(
            f"can't write {path}: {kind} does not take these {size[0]}x{size[1]} pixels"
            f" ({error}); choose .png"
        ) from error
    write_bytes(path, data)
    shallower = [f"{first.bits} bits per sample, of which {min(first.bits, deepest)} are written"]
    return (*first.lost, *(shallower if first.bits > deepest else []), *unwritable(first, kind))


# ---------------------------------------------------------------- reading


@contextlib.contextmanager
def _corrupt_images() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # decoders raise about any type on broken data
        raise images.corrupt_image(error) from error


def _open(data: bytes) -> tuple[Image.Image | None, list[int], tuple[str, ...]]:
    """The file as Pillow opens it if it does, which pages to read, and what they leave out."""
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if not is_tiff(data):
            raise
        image = None
    if is_tiff(data):
        return image, tiff_pages(data), ()
    count = getattr(image, "n_frames", 1)
    if image.format in _ANIMATED:
        return image, list(range(count)), ()
    others = f"pictures after the first of {count} in the {image.format} file"
    return image, [0], (others,) if count > 1 else ()


def _read_page(
    data: bytes, image: Image.Image | None, number: int, pages: int, lost: tuple[str, ...]
) -> tuple[np.ndarray, PhotoInfo]:
    if image and (number or pages > 1):
        image.seek(number)
    held = orientation_of(image) if image else 1
    samples = read_deep(data, number) if is_tiff(data) or pages == 1 else None
    if samples is None:
        if image is None:
            raise CorruptImage("not an image of a known format")
        image.load()
        # After load: Pillow has turned TIFFs by then.
        samples = orient(_read(image), orientation_of(image))
        if data[24:25] == b"\x10" and image.format == "PNG":
            lost = (*lost, "16 bits of an animation, of which 8 are read")
    bits = 8 * samples.itemsize
    height, width, channels = samples.shape
    pixels = np.empty((height, width, 3), np.float32)
    pixels[:] = samples[..., : 3 if channels > 2 else 1]
    pixels /= _TOP[bits]
    fields = read_metadata(image, data, samples, turned=held > 4)
    is_animation = pages > 1 and not is_tiff(data)
    info = PhotoInfo(
        bits=bits,
        gray=channels < 3,
        alpha=samples[..., -1].copy() if channels in (2, 4) else None,
        pages=pages,
        loop=image.info.get("loop", 1) if is_animation else None,
        duration=image.info.get("duration") if is_animation else None,
        **fields | {"lost": (*lost, *fields["lost"])},
    )
    return pixels, info


def _read(image: Image.Image) -> np.ndarray:
    """A loaded 8-bit image as uint8 `[height, width, channels]`: L, LA, RGB or RGBA."""
    if image.mode in ("I", "F"):
        raise CorruptImage(f"unsupported pixel type {image.mode!r} (32-bit)")
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode == "CMYK":
        image = _cmyk_to_rgb(image)
    color = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    alpha = "A" if image.has_transparency_data else ""
    samples = np.asarray(image.convert(color + alpha))
    return samples if samples.ndim == 3 else samples[..., None]


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """By the image's profile if it has a sound one."""
    if image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for an inverted one
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        rgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, profile, rgb, outputMode="RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        return image.convert("RGB")


# ---------------------------------------------------------------- writing


def _samples(pixels: np.ndarray, info: PhotoInfo, deepest: int) -> np.ndarray:
    """What is stored of a page, with alpha: uint8, uint16 or float32."""
    bits = min(info.bits, deepest)
    samples = _quantise(pixels.mean(axis=2, keepdims=True) if info.gray else pixels, bits)
    if info.alpha is None:
        return samples
    opaque = _TOP[8 * info.alpha.itemsize]
    alpha = _quantise(np.float32(info.alpha[..., None]) / opaque, bits)
    return np.concatenate([samples, alpha], axis=2)


def _quantise(values: np.ndarray, bits: int) -> np.ndarray:
    values = np.clip(values, 0, 1)
    if bits == 32:
        return np.float32(values)
    values *= _TOP[bits]  # in place: photos can be large
    return np.rint(values, out=values).astype(_TOP[bits].dtype)
