"""`launch.restore` as a user types it, with a model too small to be good at anything.

All commands run in `commands`, once and in turn; the tests look at what each left.
"""

import functools
import io
import json
import re

import cv2
import numpy as np
import optax
import pytest
from PIL import ExifTags, Image

import maxim_jax
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.state import create_state
from maxim_jax.inference import Restorer
from maxim_jax.models.maxim import MAXIM
from maxim_jax.photos import PhotoInfo, read_photo, write_photo
from tests.data.test_images import deep_png
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands
from tests.restoration.test_photos import exif_of_a_camera

RNG = np.random.RandomState(0)
NAMES = {"alpha.png", "cmyk.jpg", "deep.tif", "gray.png", "large.webp", "sub/one.png"} | {
    *("deep.png", "palette.gif", "sub/deeper/turned.JPG"),
    *("nested/gray.png", "nested/nested/gray.png"),
}

SIZES = [(60, 60), (70, 100), (110, 50)]
FIELDS = {
    "features": 4,
    "depth": 1,
    "num_stages": 1,
    "num_groups": 1,
    "num_bottleneck_blocks": 1,
    "num_supervision_scales": 1,
    "use_global_mlp": False,  # the bottleneck has them all the same
    "use_cross_gating": False,
    "high_res_stages": 1,
    "block_size_hr": (8, 8),
    "grid_size_hr": (8, 8),
}


def restore(input, output, *options, model="maxim_s1"):
    weights = [f"--model={model}", "--weights={tmp}/model"]
    return ["launch.restore", *weights, f"--input={input}", f"--output={output}", *options]


def photos(*options, output="{tmp}/photos/restored"):
    return restore("{tmp}/photos", output, "--tile=64", "--overlap=16", *options)


WORK = {
    "folder": photos("--compare"),
    "folder again": photos("--compare"),
    "one into a folder": restore("{tmp}/photos/palette.gif", "{tmp}/one"),
    "one by name": restore(
        "{tmp}/photos/sub/deeper/turned.JPG", "{tmp}/taken and old.png", "--overwrite"
    ),
    "one better": restore("{tmp}/photos/gray.png", "{tmp}/dots.in.name/", "--ensemble=8"),
    "one faster": restore("{tmp}/photos/gray.png", "{tmp}/bf16", "--dtype=bfloat16", "--compare"),
    "sizes": restore("{tmp}/sizes", "{tmp}/few"),
    "from a run": [
        *("launch.restore", "--workdir={tmp}/run"),
        *("--input={tmp}/photos/gray.png", "--output={tmp}/by_run"),
    ],
    "huge": restore("{tmp}/huge.png", "{tmp}/one"),
    "transparent as JPEG": restore("{tmp}/photos/alpha.png", "{tmp}/one/alpha.jpg"),
    "video": restore("{tmp}/cut.mkv", "{tmp}/films"),
    "mixed": restore("{tmp}/mixed", "{tmp}/mixed_out", "--format=tif"),
}

# Command line: what its one line must say.
MISTAKES = {
    "no output": (["launch.restore", "--input={tmp}/photos"], "--output is missing"),
    "no model": (
        ["launch.restore", "--input={tmp}/photos", "--output={tmp}/new"],
        "give either --workdir, or --model and --weights",
    ),
    "no weights": (
        ["launch.restore", "--model=maxim_s2", "--input={tmp}/photos", "--output={tmp}/new"],
        "several weights of maxim_s2 are published, name one: maxim_s2.deraining_rain13k",
    ),
    "both": (
        restore("{tmp}/photos", "{tmp}/new", "--workdir={tmp}"),
        "give either --workdir, or --model and --weights",
    ),
    "no run": (
        ["launch.restore", "--workdir={tmp}", "--input={tmp}/photos", "--output={tmp}/new"],
        "{tmp} is no run directory",
    ),
    "model": (restore("{tmp}/photos", "{tmp}/new", model="maxim_s4"), "did you mean 'maxim_s"),
    "other job": (
        restore("{tmp}/photos", "{tmp}/new", model="maxvit_tiny"),
        "maxvit_tiny restores no photos; did you mean 'maxim_s",
    ),
    "input": (restore("{tmp}/photo", "{tmp}/new"), "--input: there is no {tmp}/photo"),
    "empty": (restore("{tmp}/model", "{tmp}/new"), "--input: no photos in {tmp}/model (.jpg,"),
    "text": (restore("{tmp}/photos/notes.txt", "{tmp}/new"), "notes.txt is no photo (.jpg,"),
    "folder into a file": (restore("{tmp}/photos", "{tmp}/precious.png"), "precious.png is a file"),
    "two into one": (restore("{tmp}/twins", "{tmp}/new"), "would both become {tmp}/new/a.gif.png"),
    "in place": (restore("{tmp}/photos", "{tmp}/sub/../photos"), "originals are never overwritten"),
    "file in place": (
        restore("{tmp}/photos/gray.png", "{tmp}/photos", "--overwrite"),
        "gray.png is of the input: originals are never overwritten",
    ),
    "folder over its subfolder": (
        restore("{tmp}/photos/nested", "{tmp}/photos", "--overwrite"),
        "{tmp}/photos/nested/gray.png is of the input: originals are never overwritten",
    ),
    "taken": (
        restore("{tmp}/photos/gray.png", "{tmp}/precious.png"),
        "{tmp}/precious.png exists already: --overwrite replaces it",
    ),
    "format": (
        restore("{tmp}/photos/gray.png", "{tmp}/new/gray.gif"),
        "can't write {tmp}/new/gray.gif: choose .png",
    ),
    "film format": (restore("{tmp}/clip.mp4", "{tmp}/clip.gif"), "choose .mp4"),
    "film sheet": (restore("{tmp}/clip.mp4", "{tmp}/new", "--compare"), "is for photos"),
    "tile": (restore("{tmp}/photos", "{tmp}/new", "--tile=500"), "tile 500 is no multiple of 64"),
    "tile of words": (
        restore("{tmp}/photos", "{tmp}/new", "--tile=large"),
        "--tile=large: a number of pixels, auto or none",
    ),
    "overlap": (
        restore("{tmp}/photos", "{tmp}/new", "--tile=64"),
        "overlap 64 is not between 0 and half a tile, 32",
    ),
    "ensemble": (restore("{tmp}/photos", "{tmp}/new", "--ensemble=3"), "ensemble 3: 1, 4 or 8"),
    "dtype": (restore("{tmp}/photos", "{tmp}/new", "--dtype=float17"), "unknown dtype 'float17'"),
    "quality": (restore("{tmp}/photos", "{tmp}/new", "--jpeg_quality=101"), "jpeg_quality"),
    "flag": (restore("{tmp}/photos", "{tmp}/new", "--tiles=64"), "Did you mean: tile ?"),
    "read-only": (restore("{tmp}/photos", "/proc/restored"), "can't use /proc/restored"),
}


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    """A model, photos of all kinds, a clip, and files that must not be lost."""
    tmp = tmp_path_factory.mktemp("restore")
    model = MAXIM(**FIELDS)
    variables = make_variables(model, maxim_jax.example_images(model))
    maxim_jax.save_pretrained(tmp / "model", model, variables)
    (tmp / "run").mkdir()
    config = {"model": {"name": "maxim_s1", **FIELDS}, "train": {}}
    (tmp / "run" / "config.json").write_text(json.dumps(config))
    checkpoints = Checkpoints(str(tmp / "run"), CheckpointConfig())
    checkpoints.save(create_state(variables, optax.identity(), ema=True), config)
    checkpoints.close()

    folder = tmp / "photos"
    (folder / "sub" / "deeper").mkdir(parents=True)
    rgb = RNG.randint(0, 256, (40, 60, 3)).astype(np.uint8)
    deep = RNG.randint(0, 65536, (40, 60, 3)).astype(np.uint16)
    Image.fromarray(rgb[..., 0]).save(folder / "gray.png")
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(folder / "alpha.png")
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(rgb).convert("P").save(folder / "palette.gif")
    Image.fromarray(rgb[:1, :1]).save(folder / "sub" / "one.png")
    exif = exif_of_a_camera().tobytes()
    Image.fromarray(rgb).save(folder / "sub" / "deeper" / "turned.JPG", "JPEG", exif=exif)
    large = RNG.randint(0, 256, (200, 300, 3)).astype(np.uint8)
    Image.fromarray(large).save(folder / "large.webp", lossless=True)
    (folder / "deep.png").write_bytes(deep_png(deep, 2))
    cv2.imwrite(str(folder / "deep.tif"), deep[..., ::-1])

    data = (folder / "gray.png").read_bytes()
    (folder / "broken.png").write_bytes(data[: len(data) // 2])
    (folder / ".hidden.png").write_bytes(data)
    (folder / "notes.txt").write_text("no photo")
    twice = folder / "nested" / "nested"
    twice.mkdir(parents=True)
    for path in (twice, twice.parent):
        (path / "gray.png").write_bytes(data)
    (tmp / "twins").mkdir()
    Image.fromarray(rgb).save(tmp / "twins" / "a.gif.png")
    Image.fromarray(rgb).convert("P").save(tmp / "twins" / "a.gif")
    (tmp / "sizes").mkdir()
    for height, width in SIZES:
        Image.fromarray(large[:height, :width]).save(tmp / "sizes" / f"{height}.png")
    (tmp / "huge.png").write_bytes(_many_pixels())
    for name in ("precious.png", "taken and old.png"):
        (tmp / name).write_text("years of work")
    # An interrupted run before: one result, and a file it had not renamed yet.
    (folder / "restored" / "sub").mkdir(parents=True)
    Image.new("RGB", (1, 1), "red").save(folder / "restored" / "sub" / "one.png")
    (folder / "restored" / ".deep.png.tmp").write_text("half")
    _write_clip(tmp / "clip.mp4")
    _write_clip(tmp / "cut.mkv")
    data = (tmp / "cut.mkv").read_bytes()
    (tmp / "cut.mkv").write_bytes(data[: len(data) * 4 // 5])
    (tmp / "mixed").mkdir()
    (tmp / "mixed" / "clip.mp4").write_bytes((tmp / "clip.mp4").read_bytes())
    (tmp / "mixed" / "broken.wmv").write_text("no film")
    (tmp / "mixed" / "unknown.heic").write_text("no photo")
    first, *more = (Image.fromarray(rgb + np.uint8(40 * i)) for i in range(3))
    first.save(tmp / "mixed" / "moving.gif", save_all=True, append_images=more, duration=70)
    first.save(tmp / "mixed" / "pages.tif", save_all=True, append_images=more)
    return tmp


def _many_pixels():
    """A PNG file of 200 million black pixels, one bit each."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "PNG")
    return stream.getvalue()


def _write_clip(path):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=5)
        stream.height, stream.width, stream.pix_fmt = 40, 60, "yuv420p"
        for _ in range(10):
            frame = RNG.randint(0, 256, (40, 60, 3)).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode(None))


@pytest.fixture(scope="module")
def commands(tmp):
    """What every command left, by name."""
    lines = WORK | {f"mistake: {name}": line for name, (line, _) in MISTAKES.items()}
    lines = {
        name: [part.replace("{tmp}", str(tmp)) for part in line] for name, line in lines.items()
    }
    return run_commands(lines, tmp / "results")


@pytest.fixture(scope="module")
def restored_here(tmp):
    """Restores a photo in this process and returns the file it makes."""
    model, variables = maxim_jax.load_pretrained("maxim_s1", tmp / "model")
    restorer = functools.cache(functools.partial(Restorer, model, variables))

    def restored(name, written, **options):
        pixels, info = read_photo(tmp / "photos" / name)
        path = tmp / "here" / written
        write_photo(path, restorer(**options)(pixels), info)
        return path

    return restored


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def assert_same_pixels(path, expected):
    """Up to rounding: the two processes may have a different number of devices."""
    (a, info), (b, expected_info) = read_photo(path), read_photo(expected)
    assert (info.bits, info.gray, info.exif) == (
        *(expected_info.bits, expected_info.gray, expected_info.exif),
    )
    np.testing.assert_allclose(a, b, atol=2 / 255)
    np.testing.assert_array_equal(info.alpha, expected_info.alpha)
    with Image.open(path) as one, Image.open(expected) as other:
        assert (one.format, one.mode) == (other.format, other.mode)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(commands, tmp, name):
    """One line (after one about the weights, where they are read), status 2, no traceback."""
    result = commands[f"mistake: {name}"]
    (line,) = [line for line in result.err.splitlines() if "arrays used" not in line]
    assert line.startswith("error: ") and MISTAKES[name][1].replace("{tmp}", str(tmp)) in line
    assert result.status == 2


def test_mistakes_leave_nothing(commands, tmp):
    assert not (tmp / "new").exists()
    assert (tmp / "precious.png").read_text() == "years of work"


# ---------------------------------------------------------------- folders


def test_a_folder_is_restored_but_for_what_is_broken(commands, tmp):
    """The rest goes on, names are kept, GIF becomes PNG, other files are left alone."""
    result = commands["folder"]
    assert result.status == 1, result.err
    assert f"failed: {tmp}/photos/broken.png: " in result.out
    assert "restored 10 of 12 photos, 1 were there already, 1 failed" in result.out
    assert "photo 11/11  images/s " in result.out
    assert "Traceback" not in result.err and "arning" not in result.err, result.err
    written = {f"{name}.png" if name.endswith("gif") else name for name in NAMES}
    sheets = {"comparison.png", "comparison-2.png"}
    assert files(tmp / "photos" / "restored") == written | sheets


@pytest.mark.parametrize("name", sorted(NAMES - {"sub/one.png"}))
def test_results(commands, tmp, restored_here, name):
    written = f"{name}.png" if name.endswith("gif") else name
    expected = restored_here(name, written, tile=64, overlap=16)
    assert_same_pixels(tmp / "photos" / "restored" / written, expected)
    original, _ = read_photo(tmp / "photos" / name)
    assert np.abs(read_photo(expected)[0] - original).max() > 0.05  # the model did something


def test_turned_photo_stands_upright(commands, tmp):
    with Image.open(tmp / "photos" / "restored" / "sub" / "deeper" / "turned.JPG") as image:
        assert image.size == (40, 60)
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert image.getexif()[ExifTags.Base.Make] == "Camera"


def test_an_interrupted_folder_continues(commands, tmp):
    """What is there stays as it is; what failed is tried again."""
    with Image.open(tmp / "photos" / "restored" / "sub" / "one.png") as image:
        assert image.getpixel((0, 0)) == (255, 0, 0)
    again = commands["folder again"]
    assert again.status == 1
    assert "restored 0 of 12 photos, 11 were there already, 1 failed" in again.out


def test_comparison(commands, tmp):
    """Eight rows of four pictures; a second sheet does not replace the first."""
    folder = tmp / "photos" / "restored"
    for name, sheet in (("folder", "comparison"), ("folder again", "comparison-2")):
        assert f"the comparison is in {folder}/{sheet}.png" in commands[name].out
        with Image.open(folder / f"{sheet}.png") as image:
            assert image.width == 4 * 260 and image.height > 8 * 100
    with Image.open(tmp / "bf16" / "comparison.png") as image:
        assert image.width == 4 * 260 and 170 < image.height < 260


# ---------------------------------------------------------------- single files


@pytest.mark.parametrize(
    "command, name, written, options",
    [
        ("one into a folder", "palette.gif", "one/palette.gif.png", {}),
        ("one by name", "sub/deeper/turned.JPG", "taken and old.png", {}),
        ("one better", "gray.png", "dots.in.name/gray.png", {"ensemble": 8}),
        ("from a run", "gray.png", "by_run/gray.png", {}),
        ("one faster", "gray.png", "bf16/gray.png", {}),
    ],
)
def test_one_photo(commands, tmp, restored_here, command, name, written, options):
    assert commands[command].status == 0, commands[command].err
    assert "restored 1 of 1 photos\n" in commands[command].out
    expected = restored_here(name, written, **options)
    if command == "one faster":
        a, b = (read_photo(path)[0] for path in (tmp / written, expected))
        assert 1e-4 < np.abs(a - b).mean() < 0.02  # bfloat16 was used
    else:
        assert_same_pixels(tmp / written, expected)


def test_photos_of_a_folder_share_a_program(commands, tmp):
    """What the padding to one size gives, and not what that to each photo's own gives."""
    assert commands["sizes"].status == 0, commands["sizes"].err
    model, variables = maxim_jax.load_pretrained("maxim_s1", tmp / "model")
    shared = Restorer(model, variables)
    shared.expect(SIZES)
    for photo in sorted((tmp / "sizes").iterdir()):
        write_photo(tmp / "here.png", shared(read_photo(photo)[0]), PhotoInfo())
        assert_same_pixels(tmp / "few" / photo.name, tmp / "here.png")
    assert shared.compiled == {(128, 128)}


def test_huge_photo_is_refused_with_advice(commands, tmp):
    result = commands["huge"]
    assert result.status == 1
    assert "huge.png: more than 178 million pixels: use --tile=512\n" in result.out
    assert "restored 0 of 1 photos, 1 failed" in result.out


def test_no_transparency_is_lost(commands, tmp):
    result = commands["transparent as JPEG"]
    assert result.status == 1
    assert "alpha.jpg: JPEG has no transparency, PNG has" in result.out
    assert files(tmp / "one") == {"palette.gif.png"}


def test_a_damaged_video_is_no_success(commands, tmp):
    result = commands["video"]
    assert result.status == 1, result.err
    found = re.search(r"/cut\.mkv: (\d) frames, .*the file announces .* seconds more", result.out)
    assert 0 < int(found[1]) < 10
    assert "restored 1 of 1 videos, 1 of damaged files\n" in result.out
    assert files(tmp / "films") == {"cut.mkv"}


def test_a_folder_of_everything(commands, tmp):
    """Videos among photos, every frame and page of them; what isn't read is counted by kind."""
    result = commands["mixed"]
    assert result.status == 1, result.err
    assert "left out: 1 of 5 files (1 .heic)" in result.out
    assert f"failed: {tmp}/mixed/broken.wmv: can't read" in result.out
    assert "restored 2 of 2 photos\n" in result.out
    assert "restored 1 of 2 videos, 1 failed\n" in result.out
    clip = f"{tmp}/mixed/clip.mp4: 10 frames, copied 0 sound tracks; the result is {tmp}/mixed_out/"
    assert clip in result.out and "frame 10/10  images/s " in result.out
    with pytest.importorskip("av").open(str(tmp / "mixed_out" / "clip.mp4")) as file:
        frames = list(file.decode(video=0))
    assert len(frames) == 10 and (frames[0].height, frames[0].width) == (40, 60)
    assert files(tmp / "mixed_out") == {"clip.mp4", "moving.tif", "pages.tif"}
    for name in ("moving.tif", "pages.tif"):
        with Image.open(tmp / "mixed_out" / name) as image:
            assert image.n_frames == 3
