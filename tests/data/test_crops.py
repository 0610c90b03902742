import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from common.data.crops import image_size, open_array, read_crop
from common.data.images import CorruptImage, decode

RGB = np.random.RandomState(0).randint(0, 256, (37, 53, 3)).astype(np.uint8)
BOX = (5, 9, 20, 25)  # top, left, height, width


def encode(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def cut(pixels: np.ndarray, box: tuple[int, ...] = BOX) -> np.ndarray:
    top, left, height, width = box
    return pixels[top : top + height, left : left + width]


def tiled_tiff(pixels: np.ndarray, side: int = 16, missing: int = 0) -> bytes:
    """An uncompressed TIFF of square tiles, which Pillow can't write; the last may be missing."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)))
    tiles = [
        padded[y : y + side, x : x + side].tobytes()
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    offsets = [8 + len(tiles[0]) * i for i in range(len(tiles))]
    end = offsets[-1] + len(tiles[0])
    offsets[len(tiles) - missing :] = [10**9] * missing
    lists = struct.pack(f"<{len(tiles)}I", *offsets)
    lists += struct.pack(f"<{len(tiles)}I", *[len(tiles[0])] * len(tiles))
    lists += struct.pack("<3H", 8, 8, 8)
    long, short, count = 4, 3, len(tiles)
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, end + 8 * count),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (277, short, 1, 3),
        (322, long, 1, side),
        (323, long, 1, side),
        (324, long, count, end),
        (325, long, count, end + 4 * count),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    header = b"II*\0" + struct.pack("<I", end + len(lists))
    return header + b"".join(tiles) + lists + directory


def late_exif_png(pixels: np.ndarray, orientation: int) -> bytes:
    """A PNG whose EXIF chunk stands behind the pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = encode(pixels, "PNG")
    return data[:-12] + chunk + data[-12:]


FILES = {
    "png": encode(RGB, "PNG"),
    "gray png": encode(RGB[..., 0], "PNG"),
    "palette png": encode(Image.fromarray(RGB).quantize(40), "PNG"),
    "transparent png": encode(np.concatenate([RGB, RGB[..., :1]], axis=-1), "PNG"),
    "16-bit png": encode(RGB[..., 0].astype(np.uint16) * 257, "PNG"),
    "tiff": encode(RGB, "TIFF"),
    "tiff in strips": encode(RGB, "TIFF", tiffinfo={TiffImagePlugin.ROWSPERSTRIP: 4}),
    "tiff in tiles": tiled_tiff(RGB),
    "lzw tiff": encode(RGB, "TIFF", compression="tiff_lzw"),
    "jpeg": encode(RGB, "JPEG"),
    "webp": encode(RGB, "WEBP", lossless=True),
    "bmp": encode(RGB, "BMP"),
    "exif behind the pixels": late_exif_png(RGB, 6),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "box", [BOX, (0, 0, 37, 37), (36, 36, 1, 1), (0, 0, 1, 1), (20, 0, 17, 37)]
)
def test_a_crop_is_a_part_of_the_whole(kind, box):
    crop = read_crop(FILES[kind], *box)
    np.testing.assert_array_equal(crop, cut(decode(FILES[kind]), box))
    assert crop.flags.c_contiguous and crop.dtype == np.uint8


@pytest.mark.parametrize("kind", FILES)
def test_size_from_the_header(kind, tmp_path):
    assert image_size(FILES[kind]) == decode(FILES[kind]).shape[:2]
    if kind != "exif behind the pixels":
        (tmp_path / "image").write_bytes(FILES[kind])
        assert image_size(tmp_path / "image") == (37, 53)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_photos_that_exif_turns(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(RGB, kind, exif=exif)
    whole = decode(data)
    assert image_size(data) == whole.shape[:2]
    box = (3, 4, 20, 22)
    np.testing.assert_array_equal(read_crop(data, *box), cut(whole, box))


def test_what_lies_below_is_not_decoded():
    """What is damaged there goes unnoticed, so nothing can have read it."""
    pixels = np.random.RandomState(1).randint(0, 256, (400, 53, 3)).astype(np.uint8)
    png = bytearray(encode(pixels, "PNG"))
    png[len(png) // 2 : len(png) // 2 + 2000] = bytes(2000)
    for data in (bytes(png), tiled_tiff(pixels, missing=80)):
        np.testing.assert_array_equal(read_crop(data, *BOX), cut(pixels))
        with pytest.raises(CorruptImage):
            decode(data)


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    mapped = open_array(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap) and image_size(tmp_path / "a.npy") == (37, 53)
    np.testing.assert_array_equal(read_crop(mapped, *BOX), cut(RGB))
    deep = RGB.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_crop(deep, *BOX), cut(RGB))


@pytest.mark.parametrize("box", [(30, 0, 20, 10), (0, 50, 5, 5), (-1, 0, 5, 5)])
@pytest.mark.parametrize("data", [FILES["png"], FILES["jpeg"], RGB], ids=["png", "jpeg", "array"])
def test_crops_outside(data, box):
    with pytest.raises(CorruptImage, match="crop"):
        read_crop(data, *box)


def test_broken_files(tmp_path):
    for data in (b"", b"no image", FILES["png"][:20], FILES["png"][:-3000]):
        with pytest.raises(CorruptImage):
            read_crop(data, *BOX)
    with pytest.raises(CorruptImage):
        image_size(tmp_path / "missing.png")
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(CorruptImage):
        open_array(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(CorruptImage):
        open_array(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.zeros(3, np.uint8))
    with pytest.raises(CorruptImage, match="shape"):
        open_array(tmp_path / "c.npy")
