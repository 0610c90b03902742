"""Reading label maps: image files whose values, or colours, are classes.

What Pillow returns for a picture to look at is not always what was stored, so every pixel type is
read here by itself: gray of 8 or 16 bits and palette images by their values, colours by a table.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.class_lists import IGNORED, ClassList, Colour
from common.data.image_files import checked_size
from common.data.images import CorruptImage, corrupt_image, is_deep, quiet_pillow

LABEL_MAP_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")  # what keeps every value
_FORMATS = ("PNG", "BMP", "TIFF")
_GRAY_DEPTHS = (2, 4)


def read_label_map(data: bytes, classes: ClassList) -> np.ndarray:
    """Decodes a label map.

    Gray values and palette indices are looked up in `classes.of_value`, colours in
    `classes.of_colour`. A palette image is read by its colours where the classes have all of those
    that occur (tools that compress renumber them), by its indices where they have none. Colours
    that are all gray, of classes without colours, are gray values. Transparency doesn't count.

    Args:
      data: content of a PNG, BMP or TIFF file.
      classes: what its values and colours mean.

    Returns:
      uint8 `[height, width]`: class indices, 255 for ignored pixels.

    Raises:
      CorruptImage: data that can't be read, a lossy format, a pixel type that holds no classes, or
        a value or colour that stands for none; the message gives its place.
    """
    quiet_pillow()
    try:
        image = Image.open(io.BytesIO(data))
        if reason := _unsuitable(image, data):
            raise CorruptImage(reason)
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise about any type on broken data
        raise corrupt_image(error) from error
    if image.mode == "P":
        return _of_palette_image(image, classes)
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode in ("RGB", "RGBA"):
        return _of_colours(np.asarray(image)[..., :3], classes)
    values = np.asarray(image)
    if image.mode == "1":
        values = values.astype(np.uint8) * (255 if classes.gray else 1)
    return _of_values(values, classes)


def label_map_size(path: Path) -> tuple[int, int] | str:
    """Returns height and width of a label map, or why the file can't be one; pixels aren't read."""
    size = checked_size(path)
    if isinstance(size, str):
        return size
    with Image.open(path) as image, path.open("rb") as file:
        return _unsuitable(image, file.read(32)) or image.size[::-1]


def _unsuitable(image: Image.Image, start: bytes) -> str:
    if image.format not in _FORMATS:
        return f"a {image.format} may change values, which are classes; save label maps as PNG"
    if image.format == "TIFF" and image.tag_v2.get(259) in (6, 7):
        return "a TIFF with JPEG compression changes values, which are classes; save it as PNG"
    if image.format == "PNG" and start[25] == 0 and start[24] in _GRAY_DEPTHS:
        # Optimisers write 0, 85, 170, 255 so, others 0, 1, 2, 3.
        return f"a gray PNG of {start[24]} bits is read in two ways; save it with 8 bits"
    if image.mode not in ("1", "L", "LA", "P", "I", "RGB", "RGBA") and image.mode[:4] != "I;16":
        return f"pixels of type {image.mode} hold no classes; save it as 8-bit gray or colour PNG"
    if image.mode in ("LA", "RGB", "RGBA") and is_deep(image, start):
        return "colours of 16 bits; save it with 8"
    return ""


def _of_palette_image(image: Image.Image, classes: ClassList) -> np.ndarray:
    indices = np.asarray(image)
    colours = np.zeros((256, 3), np.uint8)
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:256]
    colours[: len(palette)] = palette
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    table = np.array([classes.of_colour.get(_colour(colour), -1) for colour in colours], np.int16)
    if table[IGNORED] < 0:
        table[IGNORED] = IGNORED  # whatever its colour
    telling = used[colours[used].any(-1) & (used != IGNORED)]  # black is in every list
    by_index = (table[used] < 0).any() and (table[telling] < 0).all()
    if not classes.of_colour or (by_index and not classes.colours_only):
        return _of_values(indices, classes)
    if (table[used] < 0).any():
        return _of_colours(colours[indices], classes)  # says which isn't known
    return table[indices].astype(np.uint8)


def _of_values(values: np.ndarray, classes: ClassList) -> np.ndarray:
    inside = (values >= 0) & (values <= 255) if values.dtype != np.uint8 else None
    if inside is not None and not inside.all():
        _raise_unknown_value(values, ~inside, classes)
    label_map = classes.of_value[values]
    if label_map.min() < 0:
        _raise_unknown_value(values, label_map < 0, classes)
    return label_map.astype(np.uint8)


def _of_colours(pixels: np.ndarray, classes: ClassList) -> np.ndarray:
    if not classes.of_colour:
        if (pixels == pixels[..., :1]).all():
            return _of_values(pixels[..., 0], classes)
        raise CorruptImage(
            f"has colours, but {classes.file} gives none; write 'name r g b' lines into classes.txt"
        )
    red, green, blue = (pixels[..., i].astype(np.int32) for i in range(3))
    packed = (red << 16) | (green << 8) | blue
    table = {(r << 16) + (g << 8) + b: index for (r, g, b), index in classes.of_colour.items()}
    codes = np.array(sorted(table), np.int32)
    found = np.searchsorted(codes, packed).clip(max=len(codes) - 1)
    unknown = codes[found] != packed
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        colour = _colour(pixels[row, column])
        nearest = _nearest(colour, classes.of_colour)
        index = classes.of_colour[nearest]
        name = "ignored" if index == IGNORED else repr(classes.names[index])
        raise CorruptImage(
            f"colour {colour} at ({column}, {row}), {np.mean(unknown):.2%} of pixels have such, "
            f"is not in {classes.file}; nearest: {nearest}, {name}"
        )
    return np.array([table[int(code)] for code in codes], np.uint8)[found]


def _raise_unknown_value(values: np.ndarray, unknown: np.ndarray, classes: ClassList) -> None:
    row, column = np.argwhere(unknown)[0]
    valid = _ranges(np.flatnonzero(classes.of_value >= 0))
    raise CorruptImage(
        f"value {values[row, column]} at ({column}, {row}), {np.mean(unknown):.2%} of pixels have "
        f"such, is no class of {classes.file}; valid: {valid}"
    )


def _ranges(values: Iterable[int]) -> str:
    """Sorted numbers as "0-3, 255"."""
    runs: list[list[int]] = []
    for value in map(int, values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in runs)


def _colour(pixel: np.ndarray) -> Colour:
    red, green, blue = map(int, pixel)
    return red, green, blue


def _nearest(colour: Colour, colours: Iterable[Colour]) -> Colour:
    def distance(other: Colour) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, other, strict=True))

    return min(colours, key=distance)
