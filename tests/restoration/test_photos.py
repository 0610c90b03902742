"""Files of all kinds go in and come out; independent readers say what is in them."""

import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps
from skimage import data as photos

from common.data.images import CorruptImage, decode
from common.errors import UserError
from maxim_jax.photos import PhotoInfo, read_photo, write_photo
from tests.data.test_images import deep_png
from tests.full_disk import largest_file

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
ALPHA = RNG.randint(0, 256, (6, 9)).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
DEEP = RNG.randint(0, 65536, (6, 9, 4)).astype(np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def round_trip(path, output=None):
    """Reads a file, writes what was read, and opens that."""
    pixels, info = read_photo(path)
    output = output or path.with_name(f"restored{path.suffix}")
    write_photo(output, pixels, info)
    image = Image.open(output)
    image.load()
    return pixels, info, image


def exif_of_a_camera(orientation=6):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.125}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif


def assert_camera_kept(image):
    exif = image.getexif()
    assert exif[ExifTags.Base.Make] == "Camera"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.125
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif.get(ExifTags.Base.Orientation, 1) == 1


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".webp"])
@pytest.mark.parametrize("samples", [RGB, RGBA], ids=["RGB", "RGBA"])
def test_8_bits(tmp_path, suffix, samples):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(samples).save(path, lossless=True)
    pixels, info, image = round_trip(path)
    assert (info.bits, info.gray) == (8, False)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, RGB / 255, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(image), samples)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jpg", ".bmp"])
def test_gray_stays_gray(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(photos.camera()[:48, :48]).save(path)
    pixels, info, image = round_trip(path)
    assert pixels.shape == (48, 48, 3) and info.gray and info.alpha is None
    assert image.mode == "L"
    stored = np.asarray(Image.open(path), int)
    assert np.abs(np.asarray(image) - stored).max() <= (3 if suffix == ".jpg" else 0)


def test_gray_is_the_mean_of_what_was_restored(tmp_path):
    pixels = np.float32([[[0.2, 0.4, 0.9]]])
    write_photo(tmp_path / "gray.png", pixels, PhotoInfo(gray=True))
    assert np.asarray(Image.open(tmp_path / "gray.png")) == round(255 * 0.5)


def test_gray_with_alpha(tmp_path):
    Image.fromarray(RGBA[..., 2:]).save(tmp_path / "photo.png")
    _, info, image = round_trip(tmp_path / "photo.png")
    assert image.mode == "LA" and info.gray
    np.testing.assert_array_equal(np.asarray(image), RGBA[..., 2:])


def test_one_bit(tmp_path):
    Image.fromarray(RGB[..., 0] > 127).save(tmp_path / "photo.png")
    _, _, image = round_trip(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(image), 255 * (RGB[..., 0] > 127))


def test_palette_with_a_transparent_color(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "photo.png", transparency=1)
    _, _, image = round_trip(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(image), [[[255, 0, 0, 255], [0, 255, 0, 0]]])


def test_cmyk_becomes_rgb(tmp_path):
    inks = np.full((16, 16, 4), [255, 0, 0, 0], np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "photo.tif")
    Image.fromarray(inks, "CMYK").save(tmp_path / "photo.jpg", quality=100)
    for name in ("photo.tif", "photo.jpg"):
        pixels, info, image = round_trip(tmp_path / name)
        np.testing.assert_allclose(pixels, np.full((16, 16, 3), [0, 1, 1]), atol=0.02)
        assert image.mode == "RGB" and info.icc_profile is None
        assert np.abs(decode((tmp_path / name).read_bytes()) / 255 - pixels).max() < 0.01


def test_cmyk_jpeg_without_the_adobe_marker(tmp_path):
    """Its values are not stored inverted."""
    inks = np.full((16, 16, 4), [255, 0, 0, 255], np.uint8)  # stored as cyan 0, .., black 0
    Image.fromarray(inks, "CMYK").save(tmp_path / "photo.jpg", quality=100)
    data = (tmp_path / "photo.jpg").read_bytes()
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4])
    (tmp_path / "photo.jpg").write_bytes(data[:start] + data[start + 2 + length :])
    pixels, _ = read_photo(tmp_path / "photo.jpg")
    expected = decode((tmp_path / "photo.jpg").read_bytes()) / 255
    np.testing.assert_allclose(pixels, expected, atol=0.01)
    np.testing.assert_allclose(pixels[8, 8], [1, 0, 0], atol=0.02)


def test_profile_of_another_kind_is_not_applied_to_cmyk(tmp_path):
    """A CMYK file with an RGB profile is broken; its colors are read plainly."""
    image = Image.fromarray(np.full((8, 8, 4), [0, 255, 0, 0], np.uint8), "CMYK")
    image.save(tmp_path / "photo.tif", icc_profile=SRGB)
    pixels, info = read_photo(tmp_path / "photo.tif")
    np.testing.assert_allclose(pixels[0, 0], [1, 0, 1])
    assert info.icc_profile is None


def test_one_pixel(tmp_path):
    Image.fromarray(RGB[:1, :1]).save(tmp_path / "photo.png")
    _, _, image = round_trip(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(image), RGB[:1, :1])


# ---------------------------------------------------------------- 16 bits


@pytest.mark.parametrize("color_type, part", [(0, [0]), (2, [0, 1, 2]), (6, [0, 1, 2, 3])])
def test_16_bits(tmp_path, color_type, part):
    """PNG to PNG and TIFF, and TIFF to both, without loss."""
    samples = DEEP[..., part]
    (tmp_path / "photo.png").write_bytes(deep_png(samples, color_type))
    path = tmp_path / "photo.png"
    for suffix in (".tif", ".png", ".tiff"):
        output = path.with_name(f"{path.stem}2{suffix}")
        pixels, info, _ = round_trip(path, output)
        assert info.bits == 16 and info.gray == (color_type == 0)
        expected = samples[..., :3] / 65535
        np.testing.assert_allclose(pixels, np.broadcast_to(expected, (6, 9, 3)), atol=1e-7)
        path = output
        if suffix == ".png":
            stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            stored = stored if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]]
        else:
            stored = tifffile.imread(path)
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, samples.squeeze())


def test_16_bit_gray_with_alpha(tmp_path):
    (tmp_path / "photo.png").write_bytes(deep_png(DEEP[..., 2:], 4))
    _, info, _ = round_trip(tmp_path / "photo.png")
    assert info.gray and (tmp_path / "restored.png").read_bytes()[25] == 4  # gray and alpha
    stored = cv2.imread(str(tmp_path / "restored.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, DEEP[..., [2, 2, 2, 3]])


def test_16_bits_are_rounded_for_a_format_with_8(tmp_path):
    (tmp_path / "photo.png").write_bytes(deep_png(DEEP, 6))
    _, _, image = round_trip(tmp_path / "photo.png", tmp_path / "photo.webp")
    image.save(tmp_path / "check.png")
    expected = np.floor(DEEP / 65535 * 255 + 0.5)
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_values_are_clipped_and_rounded(tmp_path):
    pixels = np.float32([[[-0.5, 0.501, 1.5], [0.4999, 1 / 255 * 0.49, 1 / 255 * 0.51]]])
    write_photo(tmp_path / "a.png", pixels, PhotoInfo())
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "a.png")), [[[0, 128, 255], [127, 0, 1]]]
    )


# ---------------------------------------------------------------- metadata


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
    """As Pillow shows the photo; and the tag is not left to be applied again."""
    path = tmp_path / f"photo{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(RGB.repeat(8, 0).repeat(8, 1)).save(
        path, exif=exif_of_a_camera(orientation).tobytes(), icc_profile=SRGB, **options
    )
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)), int)
    pixels, _, image = round_trip(path)
    np.testing.assert_allclose(pixels, expected / 255, atol=1e-6)
    assert np.abs(np.asarray(image) - expected).mean() < (3 if suffix == ".jpg" else 1e-6)
    assert_camera_kept(image)
    assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_metadata(tmp_path, suffix):
    """A turned 16-bit photo with alpha, and a whole EXIF block."""
    path, exif = tmp_path / f"turned{suffix}", exif_of_a_camera().tobytes()
    if suffix == ".tif":
        pixels = np.float32(DEEP[..., :3] / 65535)
        write_photo(path, pixels, PhotoInfo(16, False, DEEP[..., 3], SRGB, exif))
    else:
        kinds = [cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_EXIF]
        blocks = [np.frombuffer(block, np.uint8) for block in (SRGB, exif[6:])]
        swapped = DEEP[..., [2, 1, 0, 3]]
        path.write_bytes(cv2.imencodeWithMetadata(".png", swapped, kinds, blocks)[1].tobytes())
    _, info, image = round_trip(path)
    turned = np.rot90(DEEP, -1)
    np.testing.assert_array_equal(info.alpha, turned[..., 3])
    stored = (
        tifffile.imread(tmp_path / "restored.tif")
        if suffix == ".tif"
        else cv2.imread(str(tmp_path / "restored.png"), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]
    )
    np.testing.assert_array_equal(stored, turned)
    assert image.info["icc_profile"] == SRGB
    assert_camera_kept(image)


def test_thumbnail_is_dropped(tmp_path):
    """And a whole photo's EXIF block stays small."""
    block = exif_of_a_camera(1).tobytes()
    thumbnail = b"\xff\xd8" + 500 * b"\0" + b"\xff\xd9"
    # Behind it a second directory, with the offset and the length of a JPEG file, and that file.
    assert block[6:8] == b"MM"
    end, link = len(block) - 6, 16 + 12 * int.from_bytes(block[14:16])
    entries = struct.pack(">HHLL", 513, 4, 1, end + 30), struct.pack(">HHLL", 514, 4, 1, 504)
    directory = struct.pack(">H", 2) + b"".join(entries) + bytes(4)
    block = block[:link] + struct.pack(">L", end) + block[link + 4 :] + directory
    Image.fromarray(RGB).save(tmp_path / "photo.jpg", exif=block + thumbnail)
    with Image.open(tmp_path / "photo.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[514] == len(thumbnail)
    _, info, image = round_trip(tmp_path / "photo.jpg")
    assert not image.getexif().get_ifd(ExifTags.IFD.IFD1) and thumbnail not in info.exif
    assert_camera_kept(image)


# ---------------------------------------------------------------- mistakes


def test_broken_files(tmp_path):
    whole = Image.fromarray(RGB.repeat(30, 0))
    whole.save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    for content in (b"", b"no image", data[: len(data) // 2]):
        (tmp_path / "photo.png").write_bytes(content)
        with pytest.raises(CorruptImage):
            read_photo(tmp_path / "photo.png")


def test_more_pixels_than_allowed(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 26)  # twice as many are allowed
    with pytest.raises(CorruptImage, match="DecompressionBomb"):
        read_photo(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 27)
    read_photo(tmp_path / "photo.png")


def test_what_a_format_can_not_hold(tmp_path):
    pixels, info = np.zeros((2, 2, 3), np.float32), PhotoInfo(alpha=np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match=r"a.jpg: JPEG has no transparency, PNG has"):
        write_photo(tmp_path / "a.jpg", pixels, info)
    with pytest.raises(UserError, match=r"can't write .*a.gif: choose from .png"):
        write_photo(tmp_path / "a.gif", pixels, info)
    assert not list(tmp_path.iterdir())


def test_nothing_half_written(tmp_path):
    """A failing disk leaves what was there."""
    write_photo(tmp_path / "a.png", np.zeros((2, 2, 3), np.float32), PhotoInfo())
    before = (tmp_path / "a.png").read_bytes()

    with largest_file(10), pytest.raises(OSError, match=r"File too large: '.*/a\.png'"):
        write_photo(tmp_path / "a.png", np.ones((2, 2, 3), np.float32), PhotoInfo())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize("quality", [90, 94, 95, 100])
def test_noise_as_jpeg_of_any_quality(tmp_path, quality):
    pixels = np.random.RandomState(0).rand(300, 400, 3).astype(np.float32)
    write_photo(tmp_path / "noise.jpg", pixels, PhotoInfo(), jpeg_quality=quality)
    assert decode((tmp_path / "noise.jpg").read_bytes()).shape == (300, 400, 3)


@pytest.mark.parametrize(("suffix", "width"), [(".webp", 16_400), (".jpg", 65_600)])
def test_too_wide_for_a_format(tmp_path, suffix, width):
    path = tmp_path / f"wide{suffix}"
    with pytest.raises(UserError, match=f"does not take these {width}x1 pixels .*; choose .png"):
        write_photo(path, np.zeros((1, width, 3), np.float32), PhotoInfo())
    assert not list(tmp_path.iterdir())


def test_colors_under_transparent_pixels_are_kept_in_webp(tmp_path):
    hidden = np.dstack([RGB, np.zeros_like(ALPHA)])
    path = tmp_path / "hidden.png"
    Image.fromarray(hidden).save(path)
    *_, image = round_trip(path, tmp_path / "hidden.webp")
    np.testing.assert_array_equal(np.asarray(image), hidden)
