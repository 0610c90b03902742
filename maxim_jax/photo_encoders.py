"""Photos as bytes of a format: what Pillow writes, 16-bit PNG, TIFF of any depth, animations."""

import io
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import ExifTags, Image
from PIL import TiffImagePlugin as tiff

from maxim_jax.photo_info import PhotoInfo
from maxim_jax.photo_iptc import IPTC_TAG
from maxim_jax.photo_metadata import pillow_options, png_chunk, with_chunks

_OPTIONS = {
    "JPEG": {"subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},  # also colors that are transparent
}
_SUB_DIRECTORIES = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
_XMP, _DESCRIPTION = 700, 270


def encode(samples: np.ndarray, kind: str, info: PhotoInfo, jpeg_quality: int) -> bytes:
    """Returns an 8-bit file.

    Args:
      samples: uint8 `[height, width, channels]`: gray or RGB, with or without alpha.
      kind: Pillow's name of the format.
      info: a `PhotoInfo`.
      jpeg_quality: 1..100.

    Raises:
      OSError, ValueError: beyond the format's limits.
    """
    options = _OPTIONS.get(kind, {}) | pillow_options(info, kind)
    if kind == "JPEG":
        options["quality"] = jpeg_quality
    stream = io.BytesIO()
    _image(samples).save(stream, kind, **options)
    data = stream.getvalue()
    return with_chunks(data, info, all_of_it=False) if kind == "PNG" else data


def encode_animation(frames: Sequence[tuple[np.ndarray, PhotoInfo]], kind: str) -> bytes:
    """Returns an animation as PNG or WebP.

    Args:
      frames: uint8 `[height, width, channels]`, all of one size, and a `PhotoInfo` for each; the
        first is that of the file.
      kind: "PNG" or "WEBP".
    """
    info = frames[0][1]
    first, *more = map(_image, _of_one_mode([samples for samples, _ in frames]))
    shown = [i.duration for _, i in frames]
    options = _OPTIONS.get(kind, {}) | pillow_options(info, kind)
    options |= {"save_all": True, "append_images": more, "loop": info.loop}
    if shown[0] is None:  # shown where animations are not (APNG)
        options["default_image"] = True
        shown = shown[1:]
    options["duration"] = [round(x or 0) for x in shown]
    stream = io.BytesIO()
    first.save(stream, kind, **options)
    data = stream.getvalue()
    return with_chunks(data, info, all_of_it=False) if kind == "PNG" else data


def encode_png16(samples: np.ndarray, info: PhotoInfo) -> bytes:
    """Returns a 16-bit PNG file; Pillow writes gray ones only, OpenCV none of gray and alpha."""
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)  # "Up"
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = width.to_bytes(4) + height.to_bytes(4) + bytes((16, color_type, 0, 0, 0))
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(filtered), b"IEND": b""}
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks.items())
    return with_chunks(data, info, all_of_it=True)


def encode_tiff(pages: Iterable[tuple[np.ndarray, PhotoInfo]]) -> bytes:
    """Returns a TIFF file of one deflated strip per page.

    Pillow writes 16 bits for gray only, and EXIF without compression only; OpenCV no metadata.

    Args:
      pages: uint8, uint16 or float32 `[height, width, channels]`, and a `PhotoInfo` for each.
    """
    stream = io.BytesIO()
    file = tiff.AppendingTiffWriter(stream, new=True)
    for number, (samples, info) in enumerate(pages):
        file.write(_tiff_page(samples, info, is_first=number == 0))
        file.newFrame()
    return stream.getvalue()


def _tiff_page(samples: np.ndarray, info: PhotoInfo, *, is_first: bool) -> bytes:
    height, width, channels = samples.shape
    is_float = samples.dtype == np.float32
    stored = samples if is_float else np.diff(samples, axis=1, prepend=samples.dtype.type(0))
    strip = zlib.compress(np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")))
    tags = tiff.ImageFileDirectory_v2()
    if info.dpi:
        tags[tiff.X_RESOLUTION], tags[tiff.Y_RESOLUTION] = info.dpi
        tags[tiff.RESOLUTION_UNIT] = 2  # inch
    if info.comment:
        tags[_DESCRIPTION] = info.comment.decode("utf-8", "replace")
    exif = Image.Exif()
    if info.exif:
        exif.load(info.exif)
    for tag in exif:
        if tag not in _SUB_DIRECTORIES:
            tags[tag] = exif[tag]
        elif is_first:  # their offsets would be wrong further on
            tags[tag] = exif.get_ifd(tag)
    if info.xmp:
        tags.tagtype[_XMP] = 1
        tags[_XMP] = info.xmp
    if info.iptc:
        tags[IPTC_TAG] = info.iptc
    tags[tiff.IMAGEWIDTH], tags[tiff.IMAGELENGTH] = width, height
    tags[tiff.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    tags[tiff.SAMPLESPERPIXEL] = channels
    tags[tiff.COMPRESSION], tags[tiff.PREDICTOR] = 8, 1 if is_float else 2  # 2: of differences
    tags[tiff.SAMPLEFORMAT] = (3 if is_float else 1,) * channels
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


def _image(samples: np.ndarray) -> Image.Image:
    return Image.fromarray(samples.squeeze(2) if samples.shape[2] == 1 else samples)


def _of_one_mode(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Gray or RGB, with or without alpha, so that every frame fits."""
    has_color = any(frame.shape[2] > 2 for frame in frames)
    has_alpha = any(frame.shape[2] in (2, 4) for frame in frames)
    result = []
    for frame in frames:
        colors = frame[..., : 3 if frame.shape[2] > 2 else 1]
        parts = [np.broadcast_to(colors, (*frame.shape[:2], 3)) if has_color else colors]
        if has_alpha:
            opaque = np.full((*frame.shape[:2], 1), 255, np.uint8)
            parts.append(frame[..., -1:] if frame.shape[2] in (2, 4) else opaque)
        result.append(np.concatenate(parts, axis=2))
    return result
