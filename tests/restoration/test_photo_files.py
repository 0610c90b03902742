"""What files have besides the pixels of one picture: pages, frames, and what describes colours."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin, PngImagePlugin

from common.data.images import CorruptImage
from common.errors import UserError
from maxim_jax.photo_info import PhotoInfo
from maxim_jax.photo_metadata import png_chunk
from maxim_jax.photos import read_pages, read_photo, write_pages, write_photo

RNG = np.random.RandomState(0)
RGB = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
FRAMES = [RNG.randint(1, 256, (6, 9, 4)).astype(np.uint8) for _ in range(4)]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rewrite(source, target):
    """What is said to be lost, and what Pillow finds."""
    lost = write_pages(target, read_pages(source))
    image = Image.open(io.BytesIO(target.read_bytes()))
    return lost, image


def frames_of(path):
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append((np.asarray(image.convert("RGBA")), image.info.get("duration")))
        return found, image.info.get("loop")


# ---------------------------------------------------------------- pages and frames


@pytest.mark.parametrize("suffix, target", [(".png", ".webp"), (".webp", ".png"), (".gif", ".png")])
def test_animations(tmp_path, suffix, target):
    """Every frame, its time, and how often."""
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{target}"
    first, *more = (Image.fromarray(frame) for frame in FRAMES)
    options = {".webp": {"lossless": True, "exact": True}}.get(suffix, {})
    durations = [100, 40, 70, 100]
    first.save(source, save_all=True, append_images=more, duration=durations, loop=3, **options)
    lost, _ = rewrite(source, target)
    (old, _), (new, loop) = frames_of(source), frames_of(target)
    assert not lost and loop == 3
    assert [time for _, time in new] == durations
    for (a, _), (b, _) in zip(old, new, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_tiff_pages(tmp_path, kind):
    """Of different sizes, with what is said of each."""
    top = 1 if kind == np.float32 else np.iinfo(kind).max
    pages = [(RNG.rand(5 + i, 7, 3) * top).astype(kind) for i in range(3)]
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb", metadata=None, resolution=(300, 200))
    assert not write_pages(tmp_path / "out.tif", read_pages(tmp_path / "in.tif"))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert len(file.pages) == 3
        for page, expected in zip(file.pages, pages, strict=True):
            assert page.dtype == kind and page.tags[282].value[0] / page.tags[282].value[1] == 300
            np.testing.assert_array_equal(page.asarray(), expected)


@pytest.mark.parametrize("target", ["out.tif", "out.jpg"])
def test_bigtiff(tmp_path, target):
    tags = [(271, "s", 0, "Camera", True)]
    tifffile.imwrite(tmp_path / "in.tif", RGB, bigtiff=True, photometric="rgb", extratags=tags)
    _, image = rewrite(tmp_path / "in.tif", tmp_path / target)
    assert image.getexif()[ExifTags.Base.Make] == "Camera" and image.size == (9, 6)


def test_what_holds_no_pages(tmp_path):
    info = PhotoInfo(pages=3)
    for name in ("a.jpg", "a.png"):
        with pytest.raises(UserError, match="does not have 3 pages or frames, TIFF has"):
            write_pages(tmp_path / name, [(np.zeros((2, 2, 3), np.float32), info)] * 3)
    assert not list(tmp_path.iterdir())


def test_other_pictures_of_a_jpeg_are_named(tmp_path):
    image = Image.fromarray(RGB)
    image.save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[image])
    lost, _ = rewrite(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert lost == ("pictures after the first of 2 in the MPO file",)


def test_a_damaged_page_is_an_error(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        for page in FRAMES:
            file.write(page.repeat(50, 0), photometric="rgb", metadata=None)
    data = (tmp_path / "in.tif").read_bytes()
    (tmp_path / "in.tif").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(CorruptImage):
        write_pages(tmp_path / "out.tif", read_pages(tmp_path / "in.tif"))
    assert not (tmp_path / "out.tif").exists()


# ---------------------------------------------------------------- colours


COLORS = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    b"cICP": bytes((9, 16, 0, 1)),
    b"mDCV": bytes(range(24)),
    b"cLLI": bytes(range(8)),
}


@pytest.mark.parametrize("bits", [8, 16])
def test_what_png_says_of_colors(tmp_path, bits):
    """Is kept by PNG, and named where it can't be."""
    pixels = np.float32(RGB / 255)
    info = PhotoInfo(bits, png_chunks=tuple(COLORS.items()), dpi=(300, 300))
    write_photo(tmp_path / "in.png", pixels, info)
    lost, image = rewrite(tmp_path / "in.png", tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    assert not lost and round(image.info["dpi"][0]) == 300
    for chunk in COLORS.items():
        assert data.index(png_chunk(*chunk)) < data.index(b"IDAT")
    lost, _ = rewrite(tmp_path / "in.png", tmp_path / "out.webp")
    assert any("how colours are to be shown (gAMA, cHRM, cICP" in line for line in lost)


def test_what_everyone_assumes_is_no_loss(tmp_path):
    chunks = ((b"gAMA", struct.pack(">I", 45_455)), (b"sRGB", b"\0"))
    write_photo(tmp_path / "in.png", np.float32(RGB / 255), PhotoInfo(png_chunks=chunks))
    lost, _ = rewrite(tmp_path / "in.png", tmp_path / "out.jpg")
    assert not lost


def test_a_profile_of_other_colors_is_left_out(tmp_path):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "in.png", icc_profile=SRGB)
    lost, image = rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert lost == ("an ICC profile of RGB colours, which these are not",)
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_channel_without_a_meaning_is_named(tmp_path, kind):
    samples = FRAMES[0].astype(kind)
    tifffile.imwrite(
        tmp_path / "in.tif", samples, photometric="rgb", extrasamples=["unspecified"], metadata=None
    )
    lost = write_pages(tmp_path / "out.tif", read_pages(tmp_path / "in.tif"))
    assert lost == ("a fourth channel without a meaning",)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), samples[..., :3])


def test_less_bits_are_named(tmp_path):
    write_photo(tmp_path / "in.png", np.float32(RGB / 255), PhotoInfo(16))
    lost, _ = rewrite(tmp_path / "in.png", tmp_path / "out.jpg")
    assert lost == ("16 bits per sample, of which 8 are written",)


# ---------------------------------------------------------------- words


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-\
syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" \
note="kept"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_xmp_sizes_and_resolution(tmp_path, suffix):
    """As they are after turning."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {0xA002: 9, 0xA003: 6, ExifTags.Base.ExposureTime: 0.125}
    Image.fromarray(RGB).save(
        tmp_path / "in.jpg", exif=exif.tobytes(), xmp=XMP, dpi=(300, 200), comment="hello"
    )
    lost, image = rewrite(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    image.load()
    assert image.size == (6, 9)
    camera = image.getexif().get_ifd(ExifTags.IFD.Exif)
    assert (camera[0xA002], camera[0xA003]) == (6, 9)
    assert image.info["xmp"].rstrip(b"\0") == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert (suffix == ".webp") == ("the comment" in lost)
    if suffix != ".webp":
        assert np.allclose(image.info["dpi"], (200, 300), atol=0.1)
    if suffix == ".jpg":
        assert image.info["comment"] == b"hello"
    if suffix == ".png":
        assert image.text["Comment"] == "hello"


def test_texts_of_png(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "a cat", zip=True)
    texts.add_itxt("Author", "Zoë")
    texts.add_text("Raw profile type exif", "orientation 6")
    texts.add_text("Raw profile type iptc", "1c02")
    texts.add_text("Raw profile type 8bim", "3842")
    Image.fromarray(RGB).save(tmp_path / "in.png", pnginfo=texts)
    named, image = rewrite(tmp_path / "in.png", tmp_path / "out.png")
    assert image.text == {"Title": "a cat", "Author": "Zoë", "Raw profile type iptc": "1c02"}
    assert named == ("text (Raw profile type 8bim)",)
    lost, _ = rewrite(tmp_path / "in.png", tmp_path / "out.jpg")
    assert lost == (*named, "text (Title, Author, Raw profile type iptc)")


IPTC = b"\x1c\x02\x78\x00\x05a cat\x1c\x02\x19\x00\x05a pet"  # caption, keyword


def resource(number, content, name=b"\0\0"):
    padded = content + b"\0" * (len(content) % 2)
    return b"8BIM" + struct.pack(">H", number) + name + struct.pack(">I", len(content)) + padded


def of_iptc(path):
    with Image.open(path) as image:
        return IptcImagePlugin.getiptcinfo(image)


@pytest.mark.parametrize("others", [b"", resource(0x040A, b"\1", b"\4name\0")])
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_iptc_of_jpeg(tmp_path, suffix, others):
    """Kept as it is; what else Photoshop's block has is named."""
    block = b"Photoshop 3.0\0" + others + resource(0x03ED, b"\0" * 16) + resource(0x0404, IPTC)
    segment = b"\xff\xed" + struct.pack(">H", 2 + len(block)) + block
    Image.fromarray(RGB).save(tmp_path / "in.jpg", extra=segment)
    lost, _ = rewrite(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    is_kept = suffix != ".png"
    assert lost == ("Photoshop's data",) * bool(others) + ("IPTC",) * (not is_kept)
    expected = {(2, 120): b"a cat", (2, 25): b"a pet"} if is_kept else None
    assert of_iptc(tmp_path / f"out{suffix}") == expected


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tag", ["bytes", "numbers", "Photoshop"])
def test_iptc_of_tiff(tmp_path, order, tag):
    """Also in numbers, as many programs write it."""
    tags = {
        "bytes": (33723, 7, len(IPTC), IPTC),
        "numbers": (33723, 4, len(IPTC) // 4, np.frombuffer(IPTC, f"{order}u4").tolist()),
        "Photoshop": (34377, 1, len(resource(0x0404, IPTC)), resource(0x0404, IPTC)),
    }
    tifffile.imwrite(
        tmp_path / "in.tif", RGB, byteorder=order, extratags=[tags[tag]], metadata=None
    )
    for target in ("out.tif", "out.jpg"):
        lost, _ = rewrite(tmp_path / "in.tif", tmp_path / target)
        assert not lost
        assert of_iptc(tmp_path / target) == {(2, 120): b"a cat", (2, 25): b"a pet"}


def test_iptc_that_a_segment_does_not_hold(tmp_path):
    write_photo(tmp_path / "in.tif", np.float32(RGB / 255), PhotoInfo(iptc=IPTC * 4000))
    lost, _ = rewrite(tmp_path / "in.tif", tmp_path / "out.jpg")
    assert lost == ("IPTC, of more than 64 KiB",)


def test_a_gain_map_is_named(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "in.jpg", xmp=b'<x hdrgm:Version="1.0"/>')
    lost, image = rewrite(tmp_path / "in.jpg", tmp_path / "out.jpg")
    assert lost == ("the gain map (HDR) and XMP, which describes it",)
    assert "xmp" not in image.info


def test_floats_stay_floats(tmp_path):
    """In TIFF; with their alpha."""
    samples = RNG.rand(6, 9, 4).astype(np.float32)
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, photometric="rgb", extrasamples=["unassalpha"])
    (tmp_path / "in.tif").write_bytes(stream.getvalue())
    assert write_pages(tmp_path / "out.tif", read_pages(tmp_path / "in.tif")) == ()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), samples)
    _, info = read_photo(tmp_path / "out.tif")
    assert info.bits == 32
