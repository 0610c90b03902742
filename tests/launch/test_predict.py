"""`launch.predict` as a user types it, with a model too small to be right.

All commands run in `commands`, once and in turn; the tests look at what each left.
"""

import csv
import io

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

import maxvit_jax
from maxvit_jax.inference import Classifier
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands

FIELDS = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
NAMES = ["black", "dark", "gray", "light", "white", "snow"]
PREPROCESSING = {
    "image_size": 8,
    "mean": (127.5,) * 3,
    "std": (60.0,) * 3,
    "eval_method": "standard",
    "eval_crop_fraction": 0.8,
    "interpolation": "bilinear",
}


def predict(*arguments, model="maxvit_tiny", source="photos"):
    return [
        *("launch.predict", f"--model={model}", "--weights={tmp}/model"),
        *("--input={tmp}/" + source, *arguments),
    ]


# Command line: what its one line must say.
MISTAKES = {
    "no input": (["launch.predict", "--workdir={tmp}/run"], "--input is missing"),
    "no photo": (predict(source="photo"), "--input: there is no {tmp}/photo"),
    "no photos": (predict(source="model"), "--input: no photos in {tmp}/model"),
    "no model": (["launch.predict", "--input={tmp}/photos"], "give either --workdir, or --model"),
    "both": (predict("--workdir={tmp}/run"), "give either --workdir, or --model"),
    "unpublished": (
        ["launch.predict", "--model=aewin_tiny", "--input={tmp}/photos"],
        "no weights of aewin_tiny are published: give the path of some",
    ),
    "name": (predict(model="maxvit_tinny"), "did you mean 'maxvit_tiny'"),
    "restoration": (predict(model="maxim_s1"), "maxim_s1 restores photos: python -m launch.resto"),
    "run": (["launch.predict", "--workdir={tmp}/no", "--input={tmp}/photos"], "no run directory"),
    "taken": (predict("--output={tmp}/names"), "--output: {tmp}/names exists already"),
    "names": (predict("--class_names={tmp}/no"), "can't use {tmp}/no: No such file"),
    "few names": (
        predict("--class_names={tmp}/names", "--output={tmp}/new.csv"),
        "2 class names for a model with 6 classes",
    ),
    "size": (predict("--image_size=9", "--output={tmp}/new.csv"), "image height 9 does not fit"),
    "top": (predict("--top=0"), "--top=0 must be positive"),
    "huge": (predict("--image_size=2000000"), "--image_size=2000000: a side of 1 to 16384"),
    "dtype": (predict("--dtype=float17"), "unknown dtype 'float17'"),
}
WORK = {
    "folder": predict("--output={tmp}/tables/all.csv", "--top=2", "--batch_size=2"),
    "photo": predict(source="photos/sub/tall.png"),
    "renamed": predict("--class_names={tmp}/six names", "--top=1", source="photos/wide.png"),
    "foreign": [
        *("launch.predict", "--model=maxvit_tiny", "--weights={tmp}/timm.safetensors"),
        "--input={tmp}/photos/wide.png",
    ],
    "train": [
        *("launch.train", "--config=configs/maxvit_digits.py", "--workdir={tmp}/run"),
        *(f"--config.model.{name}={value}".replace(" ", "") for name, value in FIELDS.items()),
        *("--config.data.image_size=8", "--config.train.num_steps=1"),
        "--config.schedule.warmup_steps=0",
    ],
    "of a run": ["launch.predict", "--workdir={tmp}/run", "--input={tmp}/photos/wide.png"],
    "of a run, larger": [
        *("launch.predict", "--workdir={tmp}/run", "--input={tmp}/photos/wide.png"),
        "--image_size=384",
    ],
}


@pytest.fixture(scope="module")
def model():
    model = maxvit_jax.create_model("maxvit_tiny", **FIELDS, num_classes=len(NAMES))
    return model, make_variables(model, jnp.zeros((1, 8, 8, 3)))


@pytest.fixture(scope="module")
def tmp(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("predict")
    maxvit_jax.save_pretrained(
        folder / "model", *model, preprocessing=PREPROCESSING, class_names=NAMES
    )
    (folder / "names").write_text("one\ntwo\n")
    (folder / "six names").write_text("".join(f"class {i}\n" for i in range(6)))
    rng = np.random.default_rng(0)
    (folder / "photos" / "sub").mkdir(parents=True)
    (folder / "photos" / ".hidden.png").write_bytes(b"no image")
    (folder / "photos" / "broken.jpg").write_bytes(b"no image")
    (folder / "photos" / "notes.txt").write_text("no image")

    def save(name, pixels, **options):
        Image.fromarray(pixels).save(folder / "photos" / name, **options)

    save("wide.png", rng.integers(0, 256, (20, 50, 3), np.uint8))
    save("gray.png", rng.integers(0, 256, (30, 30), np.uint8))
    save("alpha.png", rng.integers(0, 256, (9, 30, 4), np.uint8))
    save("deep.png", rng.integers(0, 65536, (30, 31), np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    save("sub/tall.png", rng.integers(0, 256, (20, 50, 3), np.uint8), exif=turned)
    return folder


@pytest.fixture(scope="module")
def commands(tmp, model):
    from common.weights.writers import write_state_dict

    write_state_dict(tmp / "timm.safetensors", maxvit_jax.export_weights(*model, "timm"))
    lines = WORK | {name: line for name, (line, _) in MISTAKES.items()}
    lines = {
        name: [part.replace("{tmp}", str(tmp)) for part in line] for name, line in lines.items()
    }
    return run_commands(lines, tmp / "results")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(commands, tmp, name):
    """One line, status 2, no traceback, no table."""
    result = commands[name]
    error = result.err.splitlines()[-1]
    assert error.startswith("error: ") and "Traceback" not in result.err, result.err
    assert MISTAKES[name][1].replace("{tmp}", str(tmp)) in error
    assert result.status == 2
    assert not (tmp / "new.csv").exists() and not list(tmp.glob(".*.tmp"))


def expected(tmp, model, name):
    """Probabilities of one photo, by Pillow and the model alone."""
    variables = model[1]
    with Image.open(tmp / "photos" / name) as image:
        pixels = np.asarray(image.convert("RGB")) if name != "deep.png" else np.asarray(image)
    if name == "deep.png":
        pixels = np.rint(pixels / 257).astype(np.uint8)[..., None].repeat(3, -1)
    if name == "alpha.png":
        rgba = np.asarray(Image.open(tmp / "photos" / name), np.float64)
        alpha = rgba[..., 3:] / 255
        pixels = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if name == "sub/tall.png":
        pixels = np.rot90(pixels, -1)
    side = 10 / min(pixels.shape[:2])  # 8 pixels are 0.8 of 10
    height, width = (int(side * n + 1e-6) for n in pixels.shape[:2])
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - 8) / 2), round((width - 8) / 2)
    crop = np.asarray(image, np.float32)[top : top + 8, left : left + 8]
    logits = jax.jit(model[0].apply)(variables, (crop[None] - 127.5) / 60)
    return np.asarray(jax.nn.softmax(logits))[0]


def test_folder(commands, tmp, model):
    """Two classes of every photo that can be read; the one that can't is named, status 1."""
    result = commands["folder"]
    assert result.status == 1 and "Traceback" not in result.err, result.err
    assert f"can't read {tmp}/photos/broken.jpg: not an image of a known format" in result.out
    assert "predicted 5 of 6 photos, 1 could not be read; the table is in" in result.out
    with (tmp / "tables" / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = ["alpha.png", "deep.png", "gray.png", "sub/tall.png", "wide.png"]
    assert [row["image"] for row in rows[::2]] == [f"{tmp}/photos/{name}" for name in photos]
    for number, name in enumerate(photos):
        probabilities = expected(tmp, model, name)
        for rank, index in enumerate(np.argsort(-probabilities)[:2]):
            row = rows[2 * number + rank]
            assert (row["rank"], row["class"]) == (str(rank + 1), str(index)), name
            assert row["name"] == NAMES[index]
            assert float(row["probability"]) == pytest.approx(probabilities[index], abs=1e-5)
        line = next(line for line in result.out.splitlines() if line.startswith(row["image"]))
        assert f" {probabilities.max():.2%} {probabilities.argmax()} (" in line
    assert not list((tmp / "tables").glob(".*"))


def test_one_photo(commands, tmp, model):
    """All six classes at most, from the best to the worst; no table was asked for."""
    result = commands["photo"]
    assert result.status == 0, result.err
    order = np.argsort(-expected(tmp, model, "sub/tall.png"))[:5]
    (line,) = [line for line in result.out.splitlines() if "tall.png: " in line]
    shown = line.partition(": ")[2].split(", ")
    assert [text.split(" ", 1)[1] for text in shown] == [f"{i} ({NAMES[i]})" for i in order]


def test_names(commands):
    """Of a file, of a run whose data is there, and none for a foreign file."""
    assert "(class " in commands["renamed"].out and commands["renamed"].status == 0
    assert commands["train"].status == 0, commands["train"].err
    assert commands["of a run"].status == 0, commands["of a run"].err
    assert commands["of a run"].out.count("(") == 5  # of the ten digits
    assert commands["foreign"].status == 2  # a custom model has no name in timm's format


def test_windows_of_a_run_stay(commands):
    """Also at a size for which published weights have others, of 12: in a run of windows of 2 and
    no fixed size, 384 is a multiple of both."""
    result = commands["of a run, larger"]
    assert result.status == 0, result.err
    assert "relative-bias tables resized" not in result.err


def test_classifier(tmp, model):
    """Single images, lists of any length and kind; two programs at most."""
    from maxvit_jax.data_defaults import data_of_weights

    data, names = data_of_weights("maxvit_tiny", tmp / "model")
    assert names == NAMES
    classifier = Classifier(*model, data, names, batch_size=2)
    photos = ["wide.png", "gray.png", "sub/tall.png"]
    files = [(tmp / "photos" / name).read_bytes() for name in photos]
    together = classifier(files)
    assert together.shape == (3, 6) and together.dtype == np.float32
    for row, name in zip(together, photos, strict=True):
        np.testing.assert_allclose(row, expected(tmp, model, name), atol=1e-5)
    pixels = np.asarray(Image.open(io.BytesIO(files[0])))
    np.testing.assert_allclose(classifier(pixels), together[0], atol=1e-6)
    np.testing.assert_allclose(classifier(pixels[None]), together[:1], atol=1e-6)
    for same in (tmp / "photos" / photos[0], str(tmp / "photos" / photos[0]), jnp.asarray(pixels)):
        np.testing.assert_allclose(classifier(same), together[0], atol=1e-6)
    np.testing.assert_allclose(classifier([Image.fromarray(pixels)])[0], together[0], atol=1e-6)
    inks = Image.fromarray(pixels).convert("CMYK")  # no RGB and alpha
    np.testing.assert_allclose(classifier(inks), together[0], atol=1e-6)
    assert classifier([]).shape == (0, 6)
    best = classifier.top(files[0], k=2)
    assert [p.index for p in best] == list(np.argsort(-together[0])[:2])
    assert best[0].name == NAMES[best[0].index] and len(classifier.top(files)) == 3
