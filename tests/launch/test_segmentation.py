"""Segmentation from a folder of one's own pictures to masks, by the commands alone.

All commands run once and in turn; the tests look at what each left.
"""

import csv
import json
import signal

import numpy as np
import pytest
from PIL import Image

from tests.data.label_map_folders import label_studio
from tests.launch.forks import run_commands, succeeded
from tests.launch.photos import write_photos
from tests.tasks.label_maps import Squares
from tests.train import tiny

RECIPE = "--config=tests/launch/segment_small.py:pretrained=false,size=32,steps=4"
SMALL = (
    "--config.data.batch_size=2",
    "--config.eval.every_steps=2",
    "--config.checkpoint.every_steps=2",
    "--config.train.log_every=1",
)


def train(tmp, run, root="mine"):
    data = f"--config.data.root={tmp}/{root}"
    return ["launch.train", RECIPE, *SMALL, data, f"--workdir={tmp}/{run}"]


def commands(tmp):
    run, of_outlines = f"--workdir={tmp}/run", f"--workdir={tmp}/outlines"
    return {
        "train": train(tmp, "run"),
        "evaluate": ["launch.evaluate", run, "--flip"],
        "in windows": ["launch.evaluate", run, "--tile=32", f"--output={tmp}/windows"],
        "predict": ["launch.predict", run, f"--input={tmp}/photos", f"--output={tmp}/masks"],
        "again": ["launch.predict", run, f"--input={tmp}/photos", f"--output={tmp}/masks"],
        "convert": [
            *("launch.convert", "--model=poolformer_s12+semantic_fpn", f"--input={tmp}/run"),
            f"--output={tmp}/own",
        ],
        "to mmsegmentation": [
            *("launch.convert", "--model=poolformer_s12+semantic_fpn", f"--input={tmp}/own"),
            *("--to=official", f"--output={tmp}/mmseg.safetensors"),
        ],
        "evaluate weights": [
            *("launch.evaluate", "--model=poolformer_s12+semantic_fpn"),
            *(f"--weights={tmp}/own", f"--output={tmp}/of_weights", "--config.data.source=folder"),
            *(f"--config.data.root={tmp}/mine", "--tile=32"),
        ],
        "other classes": [
            *("launch.evaluate", run, f"--config.data.classes={tmp}/renamed.txt"),
            f"--output={tmp}/none",
        ],
        "outlines": train(tmp, "outlines", root="label studio"),
        "evaluate outlines": ["launch.evaluate", of_outlines, "--tile=32"],
        "bad scales": ["launch.evaluate", run, "--scales=big", f"--output={tmp}/none"],
        "not for it": ["launch.predict", run, f"--input={tmp}/photos", "--top=3"],
        "no masks": train(tmp, "none", root="photos"),
    }


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentation")
    source = Squares(12, sizes=((40, 48), (36, 33)))
    for name in ("images", "masks"):
        (folder / "mine" / name).mkdir(parents=True)
    for i in range(len(source)):
        example = source[i]
        Image.fromarray(example["image"]).save(folder / "mine" / "images" / f"{i}.png")
        Image.fromarray(example["label_map"]).save(folder / "mine" / "masks" / f"{i}.png")
    (folder / "mine" / "classes.txt").write_text("ground\nred\nblue\n")
    label_studio(folder / "label studio", count=8)
    (folder / "renamed.txt").write_text("ground\nred\ngreen\n")
    rng = np.random.default_rng(0)
    upright, turned = (rng.integers(0, 256, (*size, 3), np.uint8) for size in ((30, 50), (20, 44)))
    write_photos(folder / "photos", upright, turned)
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    return run_commands(commands(tmp), tmp / "results")


@pytest.mark.slow
def test_killed_and_resumed_bit_for_bit(tmp):
    """As any job: of which one is among the fast, in test_new_job.py."""
    command = train(tmp, "killed")
    lines = {
        "whole": train(tmp, "whole"),
        "killed": ["tests.launch.killed", f"{tmp}/killed/checkpoints/2", *command],
        "resumed": command,
    }
    results = run_commands(lines, tmp / "resumed")
    succeeded(results["whole"])
    assert results["killed"].status == -signal.SIGKILL
    assert "continuing from step 2" in succeeded(results["resumed"]).out
    tiny.assert_identical(tiny.stored(tmp / "killed", 4), tiny.stored(tmp / "whole", 4))


def test_trained(results, tmp):
    succeeded(results["train"])
    labels = json.loads((tmp / "run" / "labels.json").read_text())
    assert labels["class_names"] == ["ground", "red", "blue"]


def test_evaluated_with_reports(results, tmp):
    out = succeeded(results["evaluate"]).out
    folder = tmp / "run" / "report" / "step_4"
    found = json.loads((folder / "metrics.json").read_text())
    assert f"eval/miou: {found['miou']:.4f}" in out and found["per_class"][1]["class"] == "red"
    assert "compiled for" in out and (folder / "report.html").exists()
    succeeded(results["in windows"])
    windows = json.loads((tmp / "windows" / "metrics.json").read_text())
    assert windows["examples"] == found["examples"] > 0


def test_label_studios_export_needs_no_more_than_its_root(results, tmp):
    succeeded(results["outlines"])
    labels = json.loads((tmp / "outlines" / "labels.json").read_text())
    assert labels["class_names"] == ["background", "cat", "dog"]
    assert "eval/miou: " in succeeded(results["evaluate outlines"]).out


def test_predicted_masks(results, tmp):
    result = results["predict"]
    assert result.status == 1 and "broken.png" in result.out + result.err
    masks = tmp / "masks"
    names = {str(path.relative_to(masks)) for path in masks.rglob("*.*")}
    photos = {"a.png", "a.jpg", "inner/b", "turned"}  # two have one name but for the suffix
    files = {f"{photo}{ending}" for photo in photos for ending in (".png", ".overlay.jpg")}
    assert names == files | {"classes.csv", "predictions.csv"}
    mask = Image.open(masks / "turned.png")
    assert mask.mode == "P" and mask.size == (20, 44)  # upright
    assert set(np.unique(mask)) <= {0, 1, 2}
    with (masks / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = [float(row["share"]) for row in rows if row["image"].endswith("inner/b.png")]
    assert sum(shares) == pytest.approx(1)
    assert results["again"].status == 2 and "exists already" in results["again"].err


def test_converted_and_evaluated_as_weights(results, tmp):
    succeeded(results["convert"])
    config = json.loads((tmp / "own" / "config.json").read_text())
    assert config["class_names"] == ["ground", "red", "blue"]
    assert config["preprocessing"]["resize"] == [128, 32]
    succeeded(results["to mmsegmentation"])
    succeeded(results["evaluate weights"])
    found, of_run = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (tmp / "of_weights", tmp / "windows")
    )
    assert found["examples"] == of_run["examples"]


@pytest.mark.parametrize(
    "name, words",
    [
        ("other classes", "number 2 is 'blue' there and 'green' here"),
        ("bad scales", "--scales=big: numbers with commas between"),
        ("not for it", "--top does not apply: it is for classification models"),
        ("no masks", "masks"),
    ],
)
def test_mistakes(results, tmp, name, words):
    result = results[name]
    assert result.status == 2 and words in result.err and "Traceback" not in result.err
    assert not (tmp / "none").exists()
