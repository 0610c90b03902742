"""Label maps as files of every kind, and those that are refused."""

import re
import struct
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from common.data.class_lists import (
    voc_colours,
)
from common.errors import UserError
from tests.data.label_map_folders import CLASSES, COLOURS, EXPECTED, LABELMAP, folder, make, small

# What files hold.


def rgb(values: np.ndarray, colours) -> np.ndarray:
    return np.array(colours, np.uint8)[np.where(values == 255, 3, values)]


_COLOURS_OF_EXPECTED = [(0, 0, 200), (0, 200, 100), (10, 20, 30), (255, 255, 255)]
_PALETTE_IMAGE = Image.fromarray(np.array([[3, 0], [1, 2]], np.uint8))
_PALETTE_IMAGE.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 0, 200])
_PALETTE_WITH_255 = Image.fromarray(np.array([[3, 0], [1, 255]], np.uint8))
_PALETTE_WITH_255.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 0, 200] + [9] * 756)
_FOREIGN_PALETTE = Image.fromarray(np.array([[0, 1], [3, 255]], np.uint8))
_FOREIGN_PALETTE.putpalette(voc_colours(256).tobytes())
_GRAY_CLASSES = "a 0 0 0\nb 128 128 128\nc 255 255 255\nignore 7 7 7"
_RGBA = np.dstack([rgb(EXPECTED, _COLOURS_OF_EXPECTED), np.array([[0, 9], [255, 255]], np.uint8)])
KINDS = {
    "gray": (Image.fromarray(EXPECTED), CLASSES),
    "16 bits": (Image.fromarray(EXPECTED.astype(np.uint16)), CLASSES),
    "gray in three channels": (Image.fromarray(np.stack([EXPECTED] * 3, -1)), CLASSES),
    "gray and alpha": (Image.fromarray(EXPECTED).convert("LA"), CLASSES),
    "indices of any palette": (Image.fromarray(EXPECTED).convert("P"), CLASSES),
    "colours": (Image.fromarray(rgb(EXPECTED, _COLOURS_OF_EXPECTED)), COLOURS),
    "colours and alpha": (Image.fromarray(_RGBA), COLOURS),
    "a palette with the classes' colours in another order": (_PALETTE_IMAGE, COLOURS),
    "indices of a palette of other colours": (_FOREIGN_PALETTE, COLOURS),
    "gray values given by a table": (
        Image.fromarray(np.array([[0, 128], [255, 7]], np.uint8)),
        _GRAY_CLASSES,
    ),
    "indices of a gray palette": (
        Image.fromarray(np.array([[0, 1], [3, 2]], np.uint8)).convert("P"),
        COLOURS,
    ),
    "an index 255 whose colour isn't listed": (_PALETTE_WITH_255, COLOURS),
    "an ignored class in the middle": (
        Image.fromarray(np.array([[0, 2], [3, 1]], np.uint8)),
        "sky\nIgnore\nsea\nland\n",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_types(tmp_path, kind):
    image, classes = KINDS[kind]
    source = make(small(tmp_path, image, classes))
    label_map = source[0]["label_map"]
    assert label_map.dtype == np.uint8
    assert label_map.tolist() == EXPECTED.tolist()
    assert len(source.class_names) == 3


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".TIFF"])
def test_formats(tmp_path, suffix):
    assert make(small(tmp_path, KINDS["gray"][0], suffix=suffix))[0]["label_map"][1, 0] == 2


def test_one_bit(tmp_path):
    image = Image.fromarray(np.array([[True, False]]))
    assert make(small(tmp_path, image))[0]["label_map"].tolist() == [[1, 0]]
    (tmp_path / "classes.txt").write_text("black 0 0 0\nwhite 255 255 255\n")
    assert make(tmp_path)[0]["label_map"].tolist() == [[1, 0]]


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A gray PNG file made by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_gray_png_of_few_bits_is_refused(tmp_path):
    small(tmp_path, KINDS["gray"][0])
    (tmp_path / "masks/a.png").write_bytes(png(2, 2, 2, b"\0\x10\0\xb0"))
    with pytest.raises(UserError, match=r"gray PNG of 2 bits is read in two ways"):
        make(tmp_path)


def test_unknown_colour_names_the_nearest(tmp_path):
    pixels = rgb(EXPECTED, _COLOURS_OF_EXPECTED)
    pixels[1, 0] += 1
    small(tmp_path, Image.fromarray(pixels), COLOURS)
    message = (
        r"a\.png: colour (11, 21, 31) at (0, 1), 25.00% of pixels have such, is not in "
        f"{tmp_path}/classes.txt; nearest: (10, 20, 30), 'land'"
    )
    with pytest.raises(UserError, match=re.escape(message[5:])):
        make(tmp_path)


def test_palette_that_half_fits_is_refused(tmp_path):
    image = _PALETTE_IMAGE.copy()
    image.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 1, 200])
    with pytest.raises(UserError, match=r"colour \(0, 1, 200\) .*nearest: \(0, 0, 200\), 'sky'"):
        make(small(tmp_path, image, COLOURS))


def test_labelmap_is_of_colours_alone(tmp_path):
    small(tmp_path, _FOREIGN_PALETTE, None)
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    with pytest.raises(UserError, match=r"colour \(128, 0, 0\) .*labelmap\.txt; nearest"):
        make(tmp_path)


def test_huge_headers_are_refused(tmp_path):
    folder(tmp_path)
    (tmp_path / "masks/1.png").write_bytes(png(60_000, 60_000, 8, b""))
    with pytest.raises(UserError, match=r"masks/1\.png .*(decompression bomb|DecompressionBomb)"):
        make(tmp_path)
