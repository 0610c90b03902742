"""Generation from a folder of one's own pictures to samples, by the commands alone.

All commands run once and in turn; the tests look at what each left.
"""

import json
import signal

import jax
import numpy as np
import pytest
from PIL import Image

import maxvit_jax
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands, succeeded
from tests.tasks.gans import SIDE, source
from tests.train import tiny

RECIPE = "--config=tests/launch/gan_small.py:model=hit_gan_32,steps=4"
NAME = "--model=hit_gan_32"


def train(tmp, run):
    data = f"--config.data.root={tmp}/mine"
    return ["launch.train", RECIPE, data, f"--workdir={tmp}/{run}"]


def commands(tmp):
    by_classifier = f"--config.task.features={tmp}/classifier"
    generate = ["launch.generate", f"--workdir={tmp}/run"]
    of_weights = ["launch.generate", NAME, f"--weights={tmp}/own"]
    none = f"--output={tmp}/none"
    return {
        "train": [*train(tmp, "run"), by_classifier],
        "generate": [*generate, f"--output={tmp}/samples", "--count=5", "--batch_size=2"],
        "convert": ["launch.convert", NAME, f"--input={tmp}/run", f"--output={tmp}/own"],
        "of weights": [*of_weights, f"--output={tmp}/again", "--count=3", "--video"],
        "there already": [*generate, f"--output={tmp}/samples"],
        "bad truncation": [*generate, none, "--truncation=-1"],
        "no generator": ["launch.generate", "--model=maxvit_tiny", f"--weights={tmp}/own", none],
        "photos": ["launch.predict", f"--workdir={tmp}/run", f"--input={tmp}/mine/00.png"],
        "no classifier": [*train(tmp, "none"), f"--config.task.features={tmp}/run"],
        "no folder": ["launch.train", RECIPE, f"--workdir={tmp}/none"],
    }


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation")
    (folder / "mine").mkdir()
    pictures = source()
    for i in range(len(pictures)):
        Image.fromarray(pictures[i]["image"]).save(folder / "mine" / f"{i:02}.png")
    fields = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
    model = maxvit_jax.create_model("maxvit_tiny", num_classes=3, **fields)
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32))
    info = {"image_size": SIDE, "mean": (127.5,) * 3, "std": (127.5,) * 3}
    maxvit_jax.save_pretrained(folder / "classifier", model, variables, preprocessing=info)
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    return run_commands(commands(tmp), tmp / "results")


def pixels(folder):
    paths = sorted(folder.glob("0*.png"))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def test_numbers_name_the_classifier_they_are_by(results, tmp):
    assert "eval/class_coverage" in succeeded(results["train"]).out
    found = json.loads((tmp / "run/labels.json").read_text())["features"]
    assert found["name"] == f"maxvit_tiny of {tmp}/classifier" and len(found["sha256"]) == 64


def test_samples_depend_on_seed_and_position_alone(results, tmp):
    for name in ("generate", "of weights"):
        assert f"images of {SIDE} pixels" in succeeded(results[name]).out
    samples, again = (pixels(tmp / name) for name in ("samples", "again"))
    assert samples.shape == (5, SIDE, SIDE, 3)
    np.testing.assert_allclose(samples[:3].astype(int), again, atol=1)
    assert (tmp / "samples/sheet.png").exists() and (tmp / "again/interpolation.mp4").exists()
    found = json.loads((tmp / "again/made_with.json").read_text())
    assert found["seed"] == 0 and found["truncation"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there already", "samples exists already"),
        ("bad truncation", "--truncation=-1.0 must be positive"),
        ("no generator", "maxvit_tiny generates no images"),
        ("photos", "a generation run predicts nothing from photos"),
        ("no classifier", "/run is no classifier; name a run of one"),
        ("no folder", "config.data.root is empty"),
    ],
)
def test_mistake(results, name, message):
    result = results[name]
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.status == 2 and len(lines) == 1 and message in lines[0]


@pytest.fixture(scope="module")
def others(results, tmp):
    """Commands that few changes break."""
    command = train(tmp, "killed")
    own = ["launch.convert", NAME, f"--input={tmp}/own", f"--output={tmp}/own.npz"]
    near = ["launch.generate", NAME, f"--weights={tmp}/own", f"--output={tmp}/near"]
    lines = {
        "evaluate": ["launch.evaluate", f"--workdir={tmp}/run"],
        "official": [*own, "--to=official"],
        "truncated": [*near, "--count=3", "--truncation=0.2"],
        "plan": ["launch.plan", RECIPE, "--devices=2", f"--config.data.root={tmp}/mine"],
        "whole": train(tmp, "whole"),
        "killed": ["tests.launch.killed", f"{tmp}/killed/checkpoints/2", *command],
        "resumed": command,
    }
    return run_commands(lines, tmp / "other_results")


@pytest.mark.slow
def test_report_names_the_classifier(others, tmp):
    found = json.loads((tmp / "run/labels.json").read_text())["features"]
    out = succeeded(others["evaluate"]).out
    assert f"by features of {found['name']} (SHA-256 {found['sha256']})" in out
    folder = tmp / "run/report/step_4/eval"
    assert json.loads((folder / "features.json").read_text()) == found
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["frechet_distance"] > 0 and "fid" not in metrics


@pytest.mark.slow
def test_generator_alone_is_planned_truncated_and_written_for_others(others, tmp):
    for name in ("official", "truncated"):
        succeeded(others[name])
    with np.load(tmp / "own.npz") as file:
        assert all(name.startswith("generator/") for name in file.files)
    assert (pixels(tmp / "near") != pixels(tmp / "again")).any()
    assert "per device" in succeeded(others["plan"]).out


@pytest.mark.slow
def test_killed_and_resumed_bit_for_bit(others, tmp):
    assert others["killed"].status == -signal.SIGKILL
    assert "continuing from step 2" in succeeded(others["resumed"]).out
    tiny.assert_identical(tiny.stored(tmp / "killed", 4), tiny.stored(tmp / "whole", 4))
