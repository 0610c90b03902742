"""What a photo's file says besides pixels: read, mended where the pixels change, and what is lost.

Sources: PNG 3 (W3C 2025), EXIF 3.0, XMP part 3, ICC.1:2022.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from maxim_jax.photo_info import PhotoInfo
from maxim_jax.photo_iptc import IPTC_TAG, LARGEST_IN_JPEG, PHOTOSHOP_TAG, jpeg_segment, read_iptc

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = 33  # signature and IHDR
_COLOR_CHUNKS = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi"}
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_OTHER_CHUNKS = {  # of pixels as they were stored, or read by other ways
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"sBIT", b"bKGD"),
    *(b"hIST", b"sPLT", b"tIME", b"pHYs", b"eXIf", b"iCCP", b"vpAg", b"orNT"),
}
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "  # ImageMagick's way: a text of hexadecimal digits
_NOT_COPIED = (_XMP_KEYWORD, _RAW_PROFILE)
_READ_OTHERWISE = (_XMP_KEYWORD, _RAW_PROFILE + b"exif")
_SRGB_GAMMA = 45_455
_SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)

# Tags about how a file stores pixels; XMP, IPTC, Photoshop's block and ICC, which are kept apart.
_LAYOUT_TAGS = {
    *range(254, 267),
    *(273, 274, *range(277, 282), 284, *range(288, 294), 301, 317),
    *range(320, 348),
    *range(512, 533),
    *(700, IPTC_TAG, PHOTOSHOP_TAG, 34675),
}
_EXTRA_SAMPLES = 338
_PIXEL_SIZES = (0xA002, 0xA003)
_MAX_JPEG_EXIF, _MAX_JPEG_XMP = 65_533, 65_504
_UNKNOWN = (1, 1)  # Pillow's word for a TIFF file that doesn't say
_GAIN_MAP = re.compile(rb"hdrgm:|GContainer|HDRGainMap")
_ICC_SPACES = {b"GRAY": True, b"RGB ": False}


def read_metadata(
    image: Image.Image | None, data: bytes, samples: np.ndarray, turned: bool
) -> dict[str, Any]:
    """Returns fields of `PhotoInfo` for the pixels that are written instead.

    Args:
      image: as Pillow opened it; None if it could not.
      data: the file.
      samples: the photo, upright, `[height, width, channels]`.
      turned: whether height and width were exchanged to get there.
    """
    size = samples.shape[1::-1]
    info = image.info if image else {}
    lost, gray = [], samples.shape[2] < 3
    icc_profile = info.get("icc_profile") or None
    if icc_profile and image.mode == "CMYK":  # used in reading
        if samples.dtype != np.uint8:
            lost.append("an ICC profile of inks, which is for 8 bits: they are converted plainly")
        icc_profile = None
    elif icc_profile and _ICC_SPACES.get(icc_profile[16:20]) != gray:
        space = icc_profile[16:20].decode("latin-1").strip()
        lost.append(f"an ICC profile of {space} colours, which these are not")
        icc_profile = None
    xmp = info.get("xmp") or b""
    if xmp and _GAIN_MAP.search(xmp):
        lost.append("the gain map (HDR) and XMP, which describes it")
        xmp = b""
    iptc, others = read_iptc(image)
    lost += others
    tags = getattr(image, "tag_v2", {})
    if tags.get(_EXTRA_SAMPLES) == (0,) and not gray:
        lost.append("a fourth channel without a meaning")
    dpi = info.get("dpi", _UNKNOWN)
    chunks = [*_kept_chunks(data, lost)] if data.startswith(_PNG) else []
    comment = info.get("comment", b"")
    return {
        "icc_profile": icc_profile,
        "exif": _exif(image, data, size),
        "iptc": iptc,
        "xmp": _mended_xmp(xmp, size),
        "dpi": tuple(float(x) for x in (dpi[::-1] if turned else dpi)) if dpi != _UNKNOWN else None,
        "comment": comment.encode() if isinstance(comment, str) else comment,
        "png_chunks": tuple(chunks),
        "lost": tuple(lost),
    }


def unwritable(info: PhotoInfo, kind: str) -> list[str]:
    """Returns in words what a `PhotoInfo` has and a format of Pillow's name can't hold."""
    lost = []
    if kind != "PNG":
        colors = [name.decode() for name, _ in info.png_chunks if name in _COLOR_CHUNKS]
        if colors and not _is_srgb(dict(info.png_chunks)):
            lost.append(f"how colours are to be shown ({', '.join(colors)})")
        texts = [_keyword(text) for name, text in info.png_chunks if name in _TEXT_CHUNKS]
        if texts:
            lost.append(f"text ({', '.join(texts)})")
    if kind == "BMP":
        kept = {"the ICC profile": info.icc_profile, "EXIF": info.exif, "XMP": info.xmp}
        lost += [name for name, value in kept.items() if value]
    if kind == "JPEG" and len(info.exif) > _MAX_JPEG_EXIF:
        lost.append("EXIF, of more than 64 KiB")
    if kind == "JPEG" and len(info.xmp) > _MAX_JPEG_XMP:
        lost.append("XMP, of more than 64 KiB")
    if kind not in ("JPEG", "TIFF") and info.iptc:
        lost.append("IPTC")
    if kind == "JPEG" and len(info.iptc) > LARGEST_IN_JPEG:
        lost.append("IPTC, of more than 64 KiB")
    if kind in ("BMP", "WEBP") and info.comment:
        lost.append("the comment")
    if kind == "WEBP" and info.dpi and not info.exif:
        lost.append("the resolution")
    return lost


def pillow_options(info: PhotoInfo, kind: str) -> dict[str, Any]:
    """Returns the options of Pillow's `save` that keep a `PhotoInfo`; PNG: see `with_chunks`."""
    options: dict[str, Any] = {}
    if info.icc_profile:
        options["icc_profile"] = info.icc_profile
    if info.exif and (kind != "JPEG" or len(info.exif) <= _MAX_JPEG_EXIF):
        options["exif"] = info.exif
    if info.xmp and kind != "PNG" and (kind != "JPEG" or len(info.xmp) <= _MAX_JPEG_XMP):
        options["xmp"] = info.xmp
    if info.dpi and kind in ("JPEG", "PNG", "BMP"):
        options["dpi"] = info.dpi
    if info.comment and kind == "JPEG":
        options["comment"] = info.comment
    if kind == "JPEG" and 0 < len(info.iptc) <= LARGEST_IN_JPEG:
        options["extra"] = jpeg_segment(info.iptc)
    return options


def with_chunks(data: bytes, info: PhotoInfo, *, all_of_it: bool) -> bytes:
    """Returns a PNG file with more about the photo behind its header.

    Args:
      data: the file.
      info: a `PhotoInfo`.
      all_of_it: also what Pillow writes by `pillow_options`.
    """
    chunks = list(info.png_chunks)
    if info.xmp:
        chunks.append((b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + info.xmp))
    if info.comment:
        text = info.comment.decode("utf-8", "replace").encode()
        chunks.append((b"iTXt", b"Comment\0\0\0\0\0" + text))
    if all_of_it and info.icc_profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(info.icc_profile)))
    if all_of_it and info.exif:
        chunks.append((b"eXIf", info.exif.removeprefix(b"Exif\0\0")))
    if all_of_it and info.dpi:
        per_meter = b"".join(round(x / 0.0254).to_bytes(4) for x in info.dpi)
        chunks.append((b"pHYs", per_meter + b"\1"))
    more = b"".join(png_chunk(kind, content) for kind, content in chunks)
    return data[:_PNG_HEADER] + more + data[_PNG_HEADER:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file."""
    body = kind + content
    return len(content).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)


def _kept_chunks(data: bytes, lost: list[str]) -> Iterator[tuple[bytes, bytes]]:
    """Chunks that stay true; the names of those that nobody here knows go to `lost`."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind in _COLOR_CHUNKS or (kind == b"pHYs" and content[-1:] == b"\0"):  # shape of pixels
            yield kind, content
        elif kind in _TEXT_CHUNKS:
            if content.startswith(_RAW_PROFILE + b"iptc") or not content.startswith(_NOT_COPIED):
                yield kind, content
            elif not content.startswith(_READ_OTHERWISE):
                lost.append(f"text ({_keyword(content)})")
        elif kind not in _OTHER_CHUNKS:
            lost.append(f"the PNG chunk {kind.decode('latin-1')}")


def _keyword(text: bytes) -> str:
    return text.split(b"\0", 1)[0].decode("latin-1")[:79]


def _is_srgb(chunks: dict[bytes, bytes]) -> bool:
    """Whether what chunks say of colours is what everyone assumes."""
    if {b"cICP", b"mDCV", b"cLLI", b"mDCv", b"cLLi"} & set(chunks):
        return False
    if b"sRGB" in chunks:
        return True
    gamma = chunks.get(b"gAMA", _SRGB_GAMMA.to_bytes(4))
    primaries = np.frombuffer(chunks.get(b"cHRM", b"")[:32], ">u4")
    near = len(primaries) == 0 or np.allclose(primaries, _SRGB_PRIMARIES, atol=20)
    return abs(int.from_bytes(gamma) - _SRGB_GAMMA) < 100 and near


def _mended_xmp(xmp: bytes, size: tuple[int, int]) -> bytes:
    """XMP that repeats orientation and size as they are now."""
    fields = {b"tiff:Orientation": 1, b"exif:PixelXDimension": size[0]}
    fields |= {b"exif:PixelYDimension": size[1], b"tiff:ImageWidth": size[0]}
    fields |= {b"tiff:ImageLength": size[1]}
    for name, value in fields.items():
        xmp = re.sub(name + rb"""(\s*=\s*["']|>)\d+""", name + rb"\g<1>%d" % value, xmp)
    return xmp


def _exif(image: Image.Image | None, data: bytes, size: tuple[int, int]) -> bytes:
    """The tags that stay true of the restored photo."""
    try:
        exif = image.getexif() if image else _exif_of_tiff(data)
        for tag in _LAYOUT_TAGS & set(exif):
            del exif[tag]
        camera = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, side in zip(_PIXEL_SIZES, size, strict=True):
            if tag in camera:
                camera[tag] = side
        exif.bigtiff = False  # an EXIF block is none, whatever the file is
        return exif.tobytes() if len(exif) else b""
    except Exception:  # broken metadata doesn't make the pixels bad
        return b""


def _exif_of_tiff(data: bytes) -> Image.Exif:
    """Of a file that Pillow doesn't open: an EXIF block is laid out as TIFF."""
    exif = Image.Exif()
    exif.load(data)
    return exif
