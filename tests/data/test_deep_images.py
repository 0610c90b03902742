"""Sixteen bits are eight bits with more of them: each file has a twin that Pillow reads."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.data.deep_images import read_deep, tiff_pages
from common.data.images import CorruptImage, decode
from tests.data.test_images import deep_png

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
ALPHA = RNG.randint(1, 256, (6, 9, 1)).astype(np.uint8)


def tiff(samples, **options):
    """A file, by a writer that isn't ours."""
    stream = io.BytesIO()
    whole = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    with tifffile.TiffWriter(stream, **whole) as file:
        file.write(samples, **{"photometric": "rgb", "metadata": None} | options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "miniswhite"},
        {"photometric": "minisblack", "extratags": [(274, 3, 1, 6, True)]},
        {"planarconfig": "contig"},
        {"planarconfig": "separate"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"compression": "zstd"},
        {"compression": "lzw", "predictor": True},
        {"extrasamples": ["unassalpha"]},
        {"extrasamples": ["assocalpha"]},
        {"extrasamples": ["unspecified"]},
    ],
    ids=str,
)
def test_tiff_like_its_twin_of_8_bits(options):
    samples, options = RGB, dict(options)
    if "photometric" in options:
        samples = RGB[..., 0]
    if options.get("planarconfig") == "separate":
        samples = np.moveaxis(RGB, -1, 0)
    if "extrasamples" in options:
        color = RGB if "unassalpha" in options["extrasamples"] else np.minimum(RGB, ALPHA)
        samples = np.dstack([color, ALPHA])
    twin = Image.open(io.BytesIO(tiff(samples, **options)))
    twin.load()
    has_alpha = "A" in twin.mode.upper()
    twin = np.asarray(twin.convert("RGBA") if has_alpha else twin, int)
    deep = read_deep(tiff(np.uint16(samples) * 257, **options))
    assert deep.dtype == np.uint16
    # Pillow divides by alpha in whole numbers.
    slack = 1 if "assocalpha" in options.get("extrasamples", ()) else 0
    np.testing.assert_allclose(deep.squeeze() / 257, twin, atol=slack)


def test_whole_numbers_of_32_bits_and_floats():
    levels = np.float64(RGB) / 255
    deep = read_deep(tiff(np.uint32(np.rint(levels * (2**32 - 1)))))
    np.testing.assert_array_equal(deep, np.uint16(RGB) * 257)
    for kind in (np.float16, np.float32, np.float64):
        deep = read_deep(tiff(levels.astype(kind)))
        assert deep.dtype == np.float32
        np.testing.assert_allclose(deep, levels, atol=1e-3 if kind == np.float16 else 1e-7)
    np.testing.assert_array_equal(decode(tiff(np.float32(levels))), RGB)


def test_gray_that_alpha_is_multiplied_into():
    samples = np.sort(RNG.randint(1, 256, (6, 9, 2)).astype(np.uint8), axis=-1)
    options = {"photometric": "minisblack", "extrasamples": ["assocalpha"]}
    options["planarconfig"] = "contig"
    shallow, deep = (decode(tiff(x, **options)) for x in (samples, np.uint16(samples) * 257))
    np.testing.assert_allclose(shallow.astype(int), deep, atol=1)


def test_inks():
    inks = np.full((2, 2, 4), [65535, 0, 0, 13107], np.uint16)  # a fifth black
    deep = read_deep(tiff(inks, photometric="separated"))
    np.testing.assert_array_equal(deep, np.full((2, 2, 3), [0, 52428, 52428]))


@pytest.mark.parametrize("colors, chunk", [(3, b"\0\1\0\2\0\3"), (1, b"\0\7")])
def test_a_transparent_color_of_a_png(colors, chunk):
    from maxim_jax.photo_metadata import png_chunk

    samples = np.full((1, 2, colors), 500, np.uint16)
    samples[0, 1] = np.frombuffer(chunk, ">u2")
    data = deep_png(samples, 2 if colors == 3 else 0)
    data = data[:33] + png_chunk(b"tRNS", chunk) + data[33:]
    deep = read_deep(data)
    np.testing.assert_array_equal(deep[..., :-1], samples)
    np.testing.assert_array_equal(deep[..., -1], [[65535, 0]])


@pytest.mark.parametrize(
    "samples, options, message",
    [
        (np.zeros((4, 4), np.int16), {"photometric": "minisblack"}, "type int16"),
        (np.zeros((4, 4), np.complex64), {"photometric": "minisblack"}, "type complex64"),
        (np.zeros((6, 9, 5), np.uint16), {}, "5 channels: gray or RGB"),
        (np.zeros((6, 9, 5), np.uint8), {}, "5 channels: gray or RGB"),
        (np.full((4, 4), 1.5, np.float32), {"photometric": "minisblack"}, "floats from 1.5 to 1.5"),
        (np.full((4, 4), np.nan, np.float32), {"photometric": "minisblack"}, "floats from nan"),
        (np.zeros((4, 4, 3), np.uint16), {"photometric": "cielab"}, "colours of kind CIELAB"),
    ],
)
def test_what_has_no_known_meaning(samples, options, message):
    with pytest.raises(CorruptImage, match=message):
        decode(tiff(samples, **options))


def test_cut_off():
    data = tiff(np.uint16(RGB.repeat(9, 0)))
    for length in range(8, len(data), 97):
        with pytest.raises(CorruptImage):
            decode(data[:length])


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 2}])
def test_more_rows_than_there_are(options):
    """Are not made up."""
    data = bytearray(tiff(np.uint16(RGB), **options))
    (directory,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * tags, 12):
        if struct.unpack_from("<H", data, entry) in ((257,), (278,) if not options else ()):
            data[entry + 8 : entry + 12] = struct.pack("<I", 96)
    with pytest.raises(CorruptImage):
        decode(bytes(data))


def test_without_imagecodecs(monkeypatch):
    """LZW is read all the same, of others it is said what they need."""

    def missing(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    samples = np.uint16(RGB) * 257
    files = [tiff(samples, compression="lzw"), tiff(samples, compression="zstd")]
    monkeypatch.setattr(tifffile.TiffPage, "asarray", missing)
    np.testing.assert_array_equal(read_deep(files[0]), samples)
    with pytest.raises(CorruptImage, match=r"ZSTD compression needs imagecodecs: pip install"):
        decode(files[1])


@pytest.mark.parametrize("white", [65535, 4095])
def test_ppm_and_pgm(white):
    for kind, samples in ((b"P6", RGB), (b"P5", RGB[..., :1])):
        stored = np.rint(samples / 255 * white).astype(">u2")
        data = kind + b"\n# a comment\n9 6\n%d\n" % white + stored.tobytes()
        np.testing.assert_allclose(read_deep(data) / 65535, stored / white, atol=1e-5)
        np.testing.assert_array_equal(decode(data), np.broadcast_to(samples, RGB.shape))
        with pytest.raises(CorruptImage):
            decode(data[:-1])
    data = b"P6 9 6 255\n" + RGB.tobytes()
    assert read_deep(data) is None
    np.testing.assert_array_equal(decode(data), RGB)


def test_pages_that_are_pictures():
    """Not the smaller copies of the first."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for kind in (0, 1, 0):
            file.write(RGB, photometric="rgb", subfiletype=kind, metadata=None)
    assert tiff_pages(stream.getvalue()) == [0, 2]


def test_pages_in_a_circle():
    """Neither hang nor are taken for fewer."""
    data = bytearray(tiff(RGB))
    (directory,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, directory)
    link = directory + 2 + 12 * tags
    data[link : link + 4] = struct.pack("<I", directory)
    with pytest.raises(CorruptImage, match="in a circle"):
        tiff_pages(bytes(data))
    data[link : link + 4] = struct.pack("<I", 2**31)
    with pytest.raises(CorruptImage, match="cut off at page 2"):
        tiff_pages(bytes(data))
