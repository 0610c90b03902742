"""Reading a part of an image without decoding all of it, where its format allows.

What is gained: `.npy` files and other arrays (memory-mapped: only the rows of the crop are read),
8-bit PNG that isn't interlaced (decoding ends with the crop's last row: on average half of it, for
a crop at the top nearly all), uncompressed 8-bit TIFF in strips or tiles (only those that the crop
touches). JPEG, WebP, compressed TIFF, 16-bit files and photos that EXIF turns are decoded whole.
"""

import io
import os

import numpy as np
from PIL import Image

from common.data import images
from common.data.images import CorruptImage, decode


def image_size(data: bytes | np.ndarray | os.PathLike[str]) -> tuple[int, int]:
    """Returns height and width as `decode` would return them, from the header alone.

    Args:
      data: content of an image file, pixels, or the path of an image or `.npy` file.

    Raises:
      CorruptImage: no header that can be read.
    """
    if isinstance(data, os.PathLike) and os.fspath(data).endswith(".npy"):
        data = open_array(data)
    if isinstance(data, np.ndarray):
        return data.shape[:2]
    with _open(data) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF as turned.
        sideways = image.format != "TIFF" and _header_orientation(image, data) >= 5
        return (width, height) if sideways else (height, width)


def read_crop(data: bytes | np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Returns `decode(data)[top : top + height, left : left + width]`, for less work if possible.

    A file that is broken below the crop's last row may go unnoticed.

    Args:
      data: content of an image file, or pixels as `decode` takes them.
      top: first row.
      left: first column.
      height: rows.
      width: columns.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      CorruptImage: as for `decode`, or a crop that isn't inside the image.
    """
    full_height, full_width = image_size(data)
    bottom, right = top + height, left + width
    if not (0 <= top < bottom <= full_height and 0 <= left < right <= full_width):
        size = f"{full_width}x{full_height}"
        raise CorruptImage(f"no {width}x{height} crop at ({left}, {top}) in an image of {size}")
    if isinstance(data, np.ndarray):
        return decode(data[top:bottom, left:right])
    part = _decode_part(data, (left, top, right, bottom))
    if part is None:
        part = decode(data)[top:bottom, left:right]
    return np.ascontiguousarray(part)


def open_array(path: os.PathLike[str]) -> np.ndarray:
    """Returns the pixels in a `.npy` file, memory-mapped.

    Raises:
      CorruptImage: the file is no array that can be mapped.
    """
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptImage(f"{type(error).__name__}: {error}") from error
    if pixels.ndim not in (2, 3):
        raise CorruptImage(f"pixels of shape {pixels.shape} are not an image")
    return pixels


def _open(data: bytes | os.PathLike[str]) -> Image.Image:
    images.quiet_pillow()
    try:
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    except Exception as error:  # Pillow's readers raise about any type on broken data
        raise images.corrupt_image(error) from error


def _header_orientation(image: Image.Image, data: bytes | os.PathLike[str]) -> int:
    """EXIF orientation; of a PNG file's header only if it stands there, as it nearly always does.

    Asked for what isn't there, Pillow would decode the pixels to look behind them.
    """
    known = {"exif", "Raw profile type exif"} & image.info.keys()
    if image.format == "PNG" and not known and not (isinstance(data, bytes) and b"eXIf" in data):
        return 1
    return images.orientation_of(image)


def _decode_part(data: bytes, box: tuple[int, int, int, int]) -> np.ndarray | None:
    """The part of an image inside (left, top, right, bottom); None if its format has no parts."""
    with _open(data) as image:
        raw_tiff = image.format == "TIFF" and all(tile.codec_name == "raw" for tile in image.tile)
        png = image.format == "PNG" and not image.info.get("interlace")
        if not (raw_tiff or png) or images.is_deep(image, data):
            return None
        if _header_orientation(image, data) != 1 or getattr(image, "n_frames", 1) > 1:
            return None
        try:
            if raw_tiff:
                image.tile = [tile for tile in image.tile if _overlap(tile.extents, box)]
            else:  # the decoder stops after as many rows as the image claims to have
                image._size = (image.width, box[3])
                image.tile = [image.tile[0]._replace(extents=(0, 0, *image.size))]
            image.load()
            return images.read_rgb8(image.crop(box))
        except MemoryError:
            raise
        except Exception as error:
            raise images.corrupt_image(error) from error


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
