"""Photographs in and out: pixels for a model, and all else that a file must keep.

Kept are the number of bits (8 or 16), gray, alpha, the ICC profile and EXIF. EXIF orientation is
applied and then left out, as are embedded thumbnails and XMP, which repeat it. CMYK becomes RGB,
16-bit gray with alpha RGBA.
"""

import dataclasses
import io
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms
from PIL import TiffImagePlugin as tiff

from common.config import require
from common.data import images
from common.data.images import CorruptImage
from common.errors import UserError

# What can be written, by suffix.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
}
_DEEP = {"PNG", "TIFF"}
_ALPHA = {"PNG", "TIFF", "WEBP"}
_OPTIONS = {
    "JPEG": {"subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},  # also colors that are transparent
}
_MAX_JPEG_EXIF = 65_533
_SUB_DIRECTORIES = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}

# Tags about how a file stores pixels; XMP, Photoshop's block and ICC, which is kept apart.
_LAYOUT_TAGS = {
    *range(254, 267),
    *(273, 274, *range(277, 282), 284, *range(288, 294), 301, 317),
    *range(320, 348),
    *range(512, 533),
    *(700, 34377, 34675),
}


@dataclasses.dataclass(frozen=True)
class PhotoInfo:
    """What a photo has besides colors.

    Attributes:
      bits: per sample, 8 or 16.
      gray: has one channel (besides alpha).
      alpha: uint8 or uint16 `[height, width]`, 255 or 65535 opaque; None if there is none.
      icc_profile: of the colors.
      exif: an EXIF block, without orientation.
    """

    bits: int = 8
    gray: bool = False
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes = b""


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
    data = path.read_bytes()
    images.quiet_pillow()
    try:
        image = Image.open(io.BytesIO(data))
        deep = images.is_deep(image, data)
        image.load()  # also for deep images: OpenCV returns half an image when it's truncated
        orientation = images.orientation_of(image)  # after load: Pillow has turned TIFFs by then
        samples = images.orient(_read_deep(data) if deep else _read(image), orientation)
        icc_profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
        exif = _exif(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise about any type on broken data
        raise images.corrupt_image(error) from error
    height, width, channels = samples.shape
    pixels = np.empty((height, width, 3), np.float32)
    pixels[:] = samples[..., : 3 if channels > 2 else 1]
    pixels /= np.iinfo(samples.dtype).max
    alpha = samples[..., -1].copy() if channels in (2, 4) else None
    return pixels, PhotoInfo(16 if deep else 8, channels < 3, alpha, icc_profile, exif)


def require_writable(path: Path, info: PhotoInfo) -> str:
    """Returns the format that a path's suffix stands for.

    Raises:
      UserError: the format is unknown, or has no transparency where the photo has.
    """
    kind = FORMATS.get(path.suffix.lower())
    require(kind is not None, f"can't write {path}: choose from {', '.join(FORMATS)}")
    require(
        info.alpha is None or kind in _ALPHA,
        f"can't write {path}: {kind} has no transparency, PNG has",
    )
    return kind


def write_photo(path: Path, pixels: np.ndarray, info: PhotoInfo, *, jpeg_quality: int = 95) -> None:
    """Writes a photo in the format of the path's suffix, complete or not at all.

    Values are clipped and rounded. A gray photo is the mean of the channels. Formats without 16
    bits (all but PNG and TIFF) get 8.

    Args:
      path: to write; its folder is made, a file that is there is replaced.
      pixels: float32 `[height, width, 3]` in 0..1 or beyond.
      info: what else the photo has.
      jpeg_quality: 1..100, for JPEG; the other formats are written without loss.

    Raises:
      UserError: see `require_writable`; or the format can't hold a photo of this size.
    """
    kind = require_writable(path, info)
    deep = info.bits == 16 and kind in _DEEP
    color = pixels.mean(axis=2, keepdims=True) if info.gray else pixels
    samples = _quantise(color, deep)
    if info.alpha is not None:
        alpha = np.float32(info.alpha[..., None]) / np.iinfo(info.alpha.dtype).max
        samples = np.concatenate([samples, _quantise(alpha, deep)], axis=2)
    if kind == "TIFF":
        data = _encode_tiff(samples, info)
    elif deep:
        data = _encode_png16(samples, info)
    else:
        try:
            data = _encode(samples, kind, info, jpeg_quality)
        except (OSError, ValueError) as error:  # Pillow's encoders: beyond a format's limits
            height, width = samples.shape[:2]
            raise UserError(
                f"can't write {path}: {kind} does not take these {width}x{height} pixels"
                f" ({error}); choose .png"
            ) from error
    write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name first; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _quantise(values: np.ndarray, deep: bool) -> np.ndarray:
    dtype = np.uint16 if deep else np.uint8
    values = np.clip(values, 0, 1)
    values *= np.iinfo(dtype).max  # in place: photos can be large
    return np.rint(values, out=values).astype(dtype)


def _read(image: Image.Image) -> np.ndarray:
    """A loaded 8-bit image as uint8 `[height, width, channels]`: L, LA, RGB or RGBA."""
    if image.mode in ("I", "F"):
        raise CorruptImage(f"unsupported pixel type {image.mode!r} (32-bit)")
    if image.mode == "CMYK":
        image = _cmyk_to_rgb(image)
    color = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    alpha = "A" if image.has_transparency_data else ""
    samples = np.asarray(image.convert(color + alpha))
    return samples if samples.ndim == 3 else samples[..., None]


def _read_deep(data: bytes) -> np.ndarray:
    """A 16-bit file as uint16 `[height, width, channels]`: gray, RGB or RGBA."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        raise CorruptImage("unsupported 16-bit file")
    return _swap(samples if samples.ndim == 3 else samples[..., None])


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


def _exif(image: Image.Image) -> bytes:
    """The tags that stay true of the restored photo."""
    try:
        exif = image.getexif()
        for tag in _LAYOUT_TAGS & set(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else b""
    except Exception:  # broken metadata doesn't make the pixels bad
        return b""


def _encode(samples: np.ndarray, kind: str, info: PhotoInfo, jpeg_quality: int) -> bytes:
    """An 8-bit file."""
    options = dict(_OPTIONS.get(kind, {}))
    if kind == "JPEG":
        options["quality"] = jpeg_quality
    if info.icc_profile:
        options["icc_profile"] = info.icc_profile
    if info.exif and (kind != "JPEG" or len(info.exif) <= _MAX_JPEG_EXIF):
        options["exif"] = info.exif
    stream = io.BytesIO()
    image = Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples)
    image.save(stream, kind, **options)
    return stream.getvalue()


def _encode_png16(samples: np.ndarray, info: PhotoInfo) -> bytes:
    """A 16-bit PNG file; Pillow writes gray ones only."""
    blocks = {
        cv2.IMAGE_METADATA_ICCP: info.icc_profile or b"",
        cv2.IMAGE_METADATA_EXIF: info.exif.removeprefix(b"Exif\0\0"),
    }
    blocks = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    _, data = cv2.imencodeWithMetadata(".png", _swap(samples), [*blocks], [*blocks.values()])
    return data.tobytes()


def _encode_tiff(samples: np.ndarray, info: PhotoInfo) -> bytes:
    """A TIFF file of one deflated strip.

    Pillow writes 16 bits for gray only, and EXIF without compression only; OpenCV no metadata.
    """
    height, width, channels = samples.shape
    differences = np.diff(samples, axis=1, prepend=samples.dtype.type(0))
    strip = zlib.compress(differences.astype(differences.dtype.newbyteorder("<")))
    tags = tiff.ImageFileDirectory_v2()
    exif = Image.Exif()
    if info.exif:
        exif.load(info.exif)
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in _SUB_DIRECTORIES else exif[tag]
    tags[tiff.IMAGEWIDTH], tags[tiff.IMAGELENGTH] = width, height
    tags[tiff.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    tags[tiff.SAMPLESPERPIXEL] = channels
    tags[tiff.COMPRESSION], tags[tiff.PREDICTOR] = 8, 2  # deflate, of differences
    tags[tiff.PHOTOMETRIC_INTERPRETATION] = 2 if channels > 2 else 1  # RGB, gray
    tags[tiff.PLANAR_CONFIGURATION] = 1
    tags[tiff.ROWSPERSTRIP] = height
    tags[tiff.STRIPOFFSETS] = 0  # Pillow adds the size of the tags
    tags[tiff.STRIPBYTECOUNTS] = len(strip)
    if info.alpha is not None:
        tags[tiff.EXTRASAMPLES] = 2  # colors are not multiplied by it
    if info.icc_profile:
        tags[tiff.ICCPROFILE] = info.icc_profile
    stream = io.BytesIO()
    tags.save(stream)
    return stream.getvalue() + strip


def _swap(samples: np.ndarray) -> np.ndarray:
    """RGB to OpenCV's BGR and back; gray and alpha stay."""
    channels = samples.shape[2]
    return samples if channels == 1 else samples[..., [2, 1, 0, 3][:channels]]
