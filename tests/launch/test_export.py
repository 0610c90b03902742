"""`launch.export` as a user types it, and the docs' readers of what it writes.

All commands run once and in turn; the tests look at what each left.
"""

import json
import zipfile

import jax
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import maxvit_jax
from common.data.preprocess import normalize
from maxvit_jax import segmenters
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.launch.forks import ROOT, run_commands, succeeded

FIELDS = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
NAMES = ["black", "dark", "gray", "light"]
NORMALIZATION = {"mean": (127.5,) * 3, "std": (60.0,) * 3}
PREPROCESSING = {"image_size": 16, "eval_method": "resize", **NORMALIZATION}
UPERNET = "poolformer_s12+upernet"
WRITTEN = {"onnx": "digits.onnx", "stablehlo": "digits.zip", "savedmodel": "digits"}


def export(to, output, *arguments):
    weights = ["--model=maxvit_tiny", "--weights={tmp}/model"]
    return ["launch.export", *weights, f"--to={to}", "--output={tmp}/" + output, *arguments]


# Command line: what its one line must say.
MISTAKES = {
    "taken": (export("onnx", "there.onnx"), "--output: {tmp}/there.onnx exists already"),
    "suffix": (export("stablehlo", "new.onnx"), "writes a file like {tmp}/new.zip"),
    "side": (export("onnx", "new.onnx", "--size=9"), "image height 9 does not fit"),
    "sides": (export("onnx", "new.onnx", "--size=8,8,8"), "--size=8,8,8: a side in pixels, or a"),
    "open sides": (
        export("onnx", "new.onnx", f"--model={UPERNET}", "--weights={tmp}/upernet"),
        f"error: {UPERNET} needs to know the sides of images: give --size, such as --size=512,512",
    ),
    "no batch": (export("onnx", "new.onnx", "--batch=0"), "--batch"),
    "no format": (export("onyx", "new.onnx"), "--to"),
    "no model": (export("onnx", "new.onnx", "--workdir={tmp}/no"), "give either --workdir, or"),
}
WORK = {to: export(to, name) for to, name in WRITTEN.items()}
FIXED = "--size=8,16", "--batch=3"
WORK["fixed"] = export("stablehlo", "fixed.zip", *FIXED)
WORK["fixed onnx"] = export("onnx", "fixed.onnx", *FIXED)


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model = maxvit_jax.create_model("maxvit_tiny", num_classes=len(NAMES), **FIELDS)
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32))
    info = {"preprocessing": PREPROCESSING, "class_names": NAMES}
    maxvit_jax.save_pretrained(folder / "model", model, variables, **info)
    model = micro.create(head="upernet")
    variables = make_variables(model, segmenters.example_images(model))
    segmenters.save_pretrained(folder / "upernet", model, variables, preprocessing=NORMALIZATION)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    (folder / "there.onnx").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    lines = WORK | {name: line for name, (line, _) in MISTAKES.items()}
    lines = {name: [word.format(tmp=tmp) for word in line] for name, line in lines.items()}
    saved = {"savedmodel": lines.pop("savedmodel")}
    others = run_commands(lines, tmp / "results")
    return others | run_commands(saved, tmp / "results", tensorflow=True)


@pytest.fixture(scope="module")
def logits(tmp):
    """Of the photo, by our own code."""
    model, variables = maxvit_jax.load_pretrained("maxvit_tiny", tmp / "model")
    photo = Image.open(tmp / "photo.png").resize((16, 16), Image.Resampling.BICUBIC)
    image = normalize(np.asarray(photo), PREPROCESSING["mean"], PREPROCESSING["std"])
    return np.asarray(jax.jit(model.apply)(variables, image[None]))


def reader(to):
    """The docs' text."""
    text = (ROOT / "docs/export.md").read_text()
    return text.partition(f"<!-- {to} -->\n```python\n")[2].partition("```")[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("to", WRITTEN)
def test_the_reader_of_the_docs(tmp, results, logits, to, monkeypatch, capsys):
    succeeded(results[to])
    text = reader(to)
    assert 10 <= len(text.splitlines()) <= 15
    assert not any(name in text for name in ("maxvit_jax", "maxim_jax", "common.", "launch"))
    monkeypatch.chdir(tmp)
    monkeypatch.setattr("sys.argv", ["reader.py", "photo.png"])
    left = {}
    exec(compile(text, f"reader of {to}", "exec"), left)
    np.testing.assert_allclose(np.asarray(left["logits"]), logits, rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().out == f"{NAMES[logits[0].argmax()]}\n"


def test_what_stands_in_the_file(tmp, results):
    assert "input image: float32 [b, 8*h, 8*w, 3]" in succeeded(results["stablehlo"]).out
    with zipfile.ZipFile(tmp / "digits.zip") as file:
        about = json.loads(file.read("metadata.json"))
    assert (about["task"], about["model"]) == ("classification", "maxvit_tiny")
    assert about["class_names"] == NAMES
    assert about["inputs"]["image"]["shape"] == ["b", "8*h", "8*w", 3]
    assert "mean [127.5, 127.5, 127.5]" in about["inputs"]["image"]["meaning"]
    assert "mean" not in about["preprocessing"]  # it would be subtracted twice


def test_sizes_that_are_asked_for(tmp, results):
    succeeded(results["fixed"])
    with zipfile.ZipFile(tmp / "fixed.zip") as file:
        program = jax.export.deserialize(bytearray(file.read("model.stablehlo")))
        about = json.loads(file.read("metadata.json"))
    assert program.in_avals[0].shape == (3, 8, 16, 3)
    assert "input image: float32 [3, 8, 16, 3]" in succeeded(results["fixed onnx"]).out
    session = onnxruntime.InferenceSession(tmp / "fixed.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [3, 8, 16, 3]
    assert about["preprocessing"]["image_size"] == [8, 16]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(tmp, results, name):
    result, message = results[name], MISTAKES[name][1].format(tmp=tmp)
    assert result.status == 2 and "Traceback" not in result.err
    (error,) = (line for line in result.err.splitlines() if line.startswith("error: "))
    assert message in error and result.err.endswith(error + "\n")
    assert not any((tmp / f"new{suffix}").exists() for suffix in ("", ".onnx", ".zip"))
    assert (tmp / "there.onnx").read_text() == "mine"
    assert not list(tmp.glob(".*.tmp"))
