import contextlib
import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data as photos

from common.data.images import CorruptImage, decode, decode_part

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
DEEP = RNG.randint(0, 65536, (6, 9, 4)).astype(np.uint16)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def to8(deep: np.ndarray) -> np.ndarray:
    return np.floor(deep / 65535 * 255 + 0.5).astype(np.uint8)


def deep_png(samples: np.ndarray, color_type: int) -> bytes:
    """A 16-bit PNG, which Pillow can't write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_rgb_is_exact(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(RGB), kind, **options))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, RGB)


def test_jpeg_is_what_pillow_and_opencv_read():
    data = encode(Image.fromarray(photos.chelsea()), "JPEG", quality=90)
    decoded = decode(data)
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(data))))
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - other).mean() < 0.5


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grayscale(kind):
    gray = np.asarray(Image.fromarray(photos.camera()[:64, :48]))
    decoded = decode(encode(Image.fromarray(gray), kind))
    assert decoded.shape == (64, 48, 3)
    assert np.abs(decoded.astype(int) - gray[..., None]).max() <= (0 if kind == "PNG" else 30)
    np.testing.assert_array_equal(decoded, decoded[..., :1].repeat(3, -1))


def test_one_bit():
    bits = RGB[..., 0] > 127
    decoded = decode(encode(Image.fromarray(bits)))
    np.testing.assert_array_equal(decoded, (bits[..., None] * 255).repeat(3, -1))


def test_palette_with_and_without_transparency():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colors = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    np.testing.assert_array_equal(decode(encode(image)), colors)
    colors[0][1] = [255, 255, 255]
    np.testing.assert_array_equal(decode(encode(image, transparency=1)), colors)
    np.testing.assert_array_equal(decode(encode(image, "GIF", transparency=1)), colors)
    some = decode(encode(image, transparency=bytes([255, 51, 255])))
    np.testing.assert_array_equal(some[0, 1], [204, 255, 204])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_shows_white(mode):
    channels = len(mode)
    pixels = DEEP[..., :channels].astype(np.uint8)
    alpha = pixels[..., -1:] / 255
    expected = np.rint(pixels[..., :-1] * alpha + 255 * (1 - alpha))
    decoded = decode(encode(Image.fromarray(pixels, mode)))
    np.testing.assert_array_equal(decoded, np.broadcast_to(expected, RGB.shape))
    np.testing.assert_array_equal(decode(pixels), decoded)


def test_transparent_color_of_a_gray_png():
    gray = Image.fromarray(np.array([[10, 20]], np.uint8))
    decoded = decode(encode(gray, transparency=10))
    np.testing.assert_array_equal(decoded[0, :, 0], [255, 20])


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpeg(adobe):
    ink = np.empty((16, 16, 4), np.uint8)
    ink[:] = [0, 200, 100, 20]
    data = encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100)
    start = data.index(b"\xff\xee")  # the Adobe marker; with it, values are stored inverted
    if not adobe:
        ink = 255 - ink
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]
    black = 255 - ink[0, 0, 3].astype(float)
    expected = (255 - ink[0, 0, :3].astype(float)) * black / 255
    assert np.abs(decode(data) - expected).max() <= 2


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_16_bit_gray(kind):
    data = cv2.imencode(kind, DEEP[..., 0])[1].tobytes()
    np.testing.assert_array_equal(decode(data), to8(DEEP[..., :1]).repeat(3, -1))


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_16_bit_rgb(kind):
    data = cv2.imencode(kind, DEEP[..., [2, 1, 0]])[1].tobytes()
    np.testing.assert_array_equal(decode(data), to8(DEEP[..., :3]))
    assert (to8(DEEP[..., :3]) != DEEP[..., :3] >> 8).any()  # dropping the low byte isn't enough


@pytest.mark.parametrize(("channels", "color_type"), [(2, 4), (4, 6)])
def test_16_bit_alpha(channels, color_type):
    samples = DEEP[..., :channels]
    alpha = samples[..., -1:] / 65535
    expected = np.rint((samples[..., :-1] * alpha + 65535 * (1 - alpha)) / 65535 * 255)
    decoded = decode(deep_png(samples, color_type))
    np.testing.assert_array_equal(decoded, np.broadcast_to(expected, decoded.shape))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind, orientation):
    image = Image.fromarray(photos.astronaut()[:32, :48])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    options = {"lossless": True} if kind == "WEBP" else options
    upright = image.copy()
    upright.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(upright)).astype(int)
    decoded = decode(encode(image, kind, exif=exif, **options))
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).max() <= (8 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_of_16_bit_tiff(orientation):
    image = Image.fromarray(DEEP[..., 0])
    decoded = decode(encode(image, "TIFF", tiffinfo={0x0112: orientation}))
    expected = np.rot90(to8(DEEP[..., 0]), {3: 2, 6: -1}[orientation])
    np.testing.assert_array_equal(decoded[..., 0], expected)


def test_broken_exif_is_no_broken_image():
    data = encode(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05junk")
    assert decode(data).shape == RGB.shape


def test_draft_halves_large_jpegs_only():
    photo = Image.fromarray(photos.astronaut())  # 512 x 512
    data = encode(photo, "JPEG")
    assert decode(data, min_side=128).shape == (128, 128, 3)
    assert decode(data, min_side=129).shape == (256, 256, 3)
    assert decode(data, min_side=300).shape == (512, 512, 3)
    assert decode(encode(photo), min_side=128).shape == (512, 512, 3)
    small = np.asarray(photo.resize((128, 128), Image.Resampling.BOX)).astype(int)
    assert np.abs(decode(data, min_side=128) - small).mean() < 3


TURNED = Image.Exif()
TURNED[0x0112] = 6
MADE = {
    "JPEG": lambda image: encode(image, "JPEG"),
    "gray JPEG": lambda image: encode(image.convert("L"), "JPEG"),
    "CMYK JPEG": lambda image: encode(image.convert("CMYK"), "JPEG"),
    "turned JPEG": lambda image: encode(image, "JPEG", exif=TURNED),
    "PNG": encode,
    "turned TIFF": lambda image: encode(image, "TIFF", tiffinfo={0x0112: 6}),
    "RGBA": lambda image: encode(image.convert("RGBA")),
    "palette": lambda image: encode(image.quantize(), "GIF"),
    "16 bits": lambda image: deep_png(np.asarray(image.convert("RGBA")).astype("u2") * 257, 6),
    "array": np.asarray,
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", MADE)
def test_a_part_is_that_of_the_whole(kind, channels):
    """Whatever the file is; the size that is told is that of the whole, the right way up."""
    data, told = MADE[kind](Image.fromarray(photos.astronaut()[:90, :120])), []

    def draw(height, width):
        told.append((height, width))
        return 11, 7, 40, 50

    whole = decode(data, channels=channels)
    part, box = decode_part(data, draw, size=(30, 40), channels=channels)
    assert box is None
    part = np.asarray(part).reshape(40, 50, channels)
    np.testing.assert_array_equal(part, whole[11:51, 7:57])
    assert part.dtype == np.uint8 and told == [whole.shape[:2]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_part_is_decoded_no_finer_than_needed(turned):
    photo = Image.fromarray(photos.astronaut())  # 512 x 512
    data = encode(photo, "JPEG", quality=95, **({"exif": TURNED} if turned else {}))
    part, box = decode_part(data, lambda *_: (104, 40, 320, 256), size=(320, 129))
    exact = Image.fromarray(decode(data)[104:424, 40:296])
    assert box is None
    np.testing.assert_array_equal(part, exact)
    for size, scale in ((128, 2), (65, 2), (64, 4), (32, 8), (16, 8)):
        whole, box = decode_part(data, lambda *_: (104, 40, 320, 256), size=(size, size))
        assert np.shape(whole) == (512 // scale, 512 // scale, 3)
        assert box == (40 / scale, 104 / scale, 296 / scale, 424 / scale)
        left, top, right, bottom = map(int, box)
        small = exact.resize((right - left, bottom - top), Image.Resampling.BOX)
        part = np.asarray(whole)[top:bottom, left:right].astype(int)
        assert np.abs(part - np.asarray(small)).mean() < 2  # 8 pixels aside: more than 25


def test_parts_of_broken_files():
    data = encode(Image.fromarray(photos.astronaut()), "JPEG")
    for broken in (data[: len(data) // 2], b"no image", data[:30]):
        with pytest.raises(CorruptImage):
            decode_part(broken, lambda *_: (0, 0, 8, 8))


def test_a_mistake_of_what_draws_is_no_broken_image():
    with pytest.raises(ZeroDivisionError):
        decode_part(encode(Image.fromarray(RGB)), lambda *_: 1 // 0)


def test_arrays():
    np.testing.assert_array_equal(decode(RGB), RGB)
    np.testing.assert_array_equal(decode(RGB[..., 0]), RGB[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(decode(DEEP[..., :3]), to8(DEEP[..., :3]))
    with pytest.raises(CorruptImage, match="float32"):
        decode(RGB.astype(np.float32))
    with pytest.raises(CorruptImage, match="shape"):
        decode(RGB[None])


def test_images_of_pillow():
    """By their colours, not by indices or inks; upright."""
    image = Image.fromarray(RGB)
    np.testing.assert_array_equal(decode(image.quantize(256)), RGB)
    np.testing.assert_array_equal(decode(image.convert("CMYK")), RGB)
    image.getexif()[0x0112] = 6
    np.testing.assert_array_equal(decode(image), np.rot90(RGB, -1))


BROKEN = {
    "empty": b"",
    "text": b"not an image",
    "jpeg": encode(Image.fromarray(photos.astronaut()), "JPEG")[:9000],
    "png": encode(Image.fromarray(photos.astronaut()))[:9000],
    "gif": encode(Image.fromarray(photos.astronaut()), "GIF")[:900],
    "webp": encode(Image.fromarray(photos.astronaut()), "WEBP")[:900],
    "deep png": deep_png(DEEP.repeat(20, 0), 6)[:500],
    "deep tiff": cv2.imencode(".tiff", DEEP[..., :3].repeat(20, 0))[1].tobytes()[:500],
    "float tiff": encode(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data(case):
    with pytest.raises(CorruptImage):
        decode(BROKEN[case])


def test_flipped_bytes_end_in_pixels_or_corrupt_image():
    files = [encode(Image.fromarray(RGB.repeat(4, 0)), kind) for kind in ("PNG", "JPEG", "TIFF")]
    files.append(deep_png(DEEP[..., :3], 2))
    rng = np.random.RandomState(1)
    for data in files:
        for _ in range(100):
            broken = bytearray(data)
            for place in rng.randint(len(data), size=3):
                broken[place] = rng.randint(256)
            with contextlib.suppress(CorruptImage):
                assert decode(bytes(broken)).ndim == 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_header_promises_more_than_the_file_can_hold(kind):
    """3 kB and a header of 13000x13000 pixels took gigabytes before they were found out."""
    data = bytearray(encode(Image.fromarray(RGB), kind))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = (13000).to_bytes(2, "big") * 2
    else:
        data[16:24] = (13000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(CorruptImage, match=r"promises 13000x13000 pixels, which [0-9,]+ bytes"):
        decode(bytes(data))
    plain = Image.new("RGB", (3000, 2000))  # hardly any bytes, honestly
    assert decode(encode(plain, kind)).shape == (2000, 3000, 3)


def test_decompression_bomb(monkeypatch):
    data = encode(Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB[..., 0].size - 1)
    with warnings.catch_warnings(record=True) as caught:
        np.testing.assert_array_equal(decode(data), RGB)  # Pillow would warn
    assert not caught
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB[..., 0].size // 2 - 1)
    with pytest.raises(CorruptImage, match="bomb"):
        decode(data)


# ---------------------------------------------------------------- gray, and with alpha


def test_gray_is_pillows_luma():
    for data in (encode(Image.fromarray(RGB)), RGB, Image.fromarray(RGB)):
        gray = decode(data, channels=1)
        np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.fromarray(RGB).convert("L")))
    flat = RGB[..., 0]
    np.testing.assert_array_equal(decode(encode(Image.fromarray(flat)), channels=1)[..., 0], flat)
    deep = deep_png(DEEP[..., :1], 0)
    np.testing.assert_array_equal(decode(deep, channels=1), to8(DEEP[..., :1]))


def test_alpha_is_read_and_colours_stay():
    rgba = np.dstack([RGB, RNG.randint(0, 256, RGB.shape[:2]).astype(np.uint8)])
    for data in (encode(Image.fromarray(rgba)), rgba):
        np.testing.assert_array_equal(decode(data, channels=4), rgba)
    np.testing.assert_array_equal(decode(deep_png(DEEP, 6), channels=4), to8(DEEP))
    gray = Image.fromarray(rgba[..., [0, 3]])  # LA
    np.testing.assert_array_equal(decode(encode(gray), channels=4), rgba[..., [0, 0, 0, 3]])
    paletted = Image.fromarray(RGB).quantize(8)
    found = decode(encode(paletted, transparency=3), channels=4)
    np.testing.assert_array_equal(found[..., 3] == 0, np.asarray(paletted) == 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_has_no_alpha_is_opaque(kind):
    data = encode(Image.fromarray(RGB), kind)
    found = decode(data, channels=4)
    assert found.shape == (*RGB.shape[:2], 4) and (found[..., 3] == 255).all()
    np.testing.assert_array_equal(found[..., :3], decode(data))
