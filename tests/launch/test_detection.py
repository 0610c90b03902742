"""Detection from a folder of one's own annotated pictures to objects, by the commands alone.

All commands run once and in turn; the tests look at what each left.
"""

import csv
import json
import signal

import pytest
from PIL import Image

from tests.launch.forks import run_commands, succeeded
from tests.launch.photos import write_photos
from tests.tasks.objects import rectangles
from tests.train import tiny

RECIPE = "--config=tests/launch/detect_small.py:pretrained=false,size=48,steps=30"
SMALL = (
    "--config.data.batch_size=2",
    "--config.data.holdout=0.3",
    "--config.optimizer.learning_rate=4e-3",
    "--config.eval.every_steps=15",
    "--config.checkpoint.every_steps=15",
    "--config.train.sample_images=false",
)
NAME = "--model=poolformer_s12+retinanet"


def train(tmp, run, root="mine"):
    data = f"--config.data.root={tmp}/{root}"
    return ["launch.train", RECIPE, *SMALL, data, f"--workdir={tmp}/{run}"]


def commands(tmp):
    run = f"--workdir={tmp}/run"
    predict = ["launch.predict", run, f"--input={tmp}/photos"]
    return {
        "train": train(tmp, "run"),
        "evaluate": ["launch.evaluate", run, "--score=0.01"],
        "predict": [*predict, f"--output={tmp}/found", "--score=0.01"],
        "convert": ["launch.convert", NAME, f"--input={tmp}/run", f"--output={tmp}/own"],
        "evaluate weights": [
            *("launch.evaluate", NAME, f"--weights={tmp}/own", f"--output={tmp}/of_weights"),
            *("--config.data.batch_size=2", "--config.data.holdout=0.3"),
            f"--config.data.root={tmp}/mine",
        ],
        "plan": [
            *("launch.plan", RECIPE, "--devices=2", "--config.model.num_classes=2"),
            "--config.data.batch_size=2",
        ],
        "other classes": [
            *("launch.evaluate", run, f"--config.data.root={tmp}/renamed"),
            f"--output={tmp}/none",
        ],
        "bad score": [*predict, "--score=2", f"--output={tmp}/none"],
        "bad class": [*predict, "--classes=rde", f"--output={tmp}/none"],
        "not for it": [*predict, "--top=3"],
        "no annotations": train(tmp, "none", root="photos"),
    }


def write_folder(folder, source):
    """A folder as annotation tools export it."""
    (folder / "images").mkdir(parents=True)
    truth = source.ground_truth()
    for i, row in enumerate(truth["images"]):
        row["file_name"] = f"{i}.png"
        Image.fromarray(source[i]["image"]).save(folder / "images" / row["file_name"])
    (folder / "result.json").write_text(json.dumps(truth))


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    sizes = (40, 48), (36, 33)
    write_folder(folder / "mine", rectangles(24, sizes))
    write_folder(folder / "renamed", rectangles(24, sizes, ("red", "green")))
    upright, turned = rectangles(sizes=((30, 50),))[0], rectangles(sizes=((20, 44),))[1]
    write_photos(folder / "photos", upright["image"], turned["image"])
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
        "killed": ["tests.launch.killed", f"{tmp}/killed/checkpoints/15", *command],
        "resumed": command,
    }
    results = run_commands(lines, tmp / "resumed")
    succeeded(results["whole"])
    assert results["killed"].status == -signal.SIGKILL
    assert "continuing from step 15" in succeeded(results["resumed"]).out
    tiny.assert_identical(tiny.stored(tmp / "killed", 30), tiny.stored(tmp / "whole", 30))


def test_trained(results, tmp):
    succeeded(results["train"])
    labels = json.loads((tmp / "run" / "labels.json").read_text())
    assert labels == {"class_names": ["red", "blue"], "category_ids": [1, 2]}


def test_evaluated_with_a_report(results, tmp):
    out = succeeded(results["evaluate"]).out
    folder = tmp / "run" / "report" / "step_30" / "eval"
    found = json.loads((folder / "metrics.json").read_text())
    assert f"eval/box_ap: {found['box_ap']:.4f}" in out and found["examples"] > 0
    for name in ("detections.json", "classes.csv", "errors.csv", "report.html", "worst.png"):
        assert (folder / name).exists()
    assert json.loads((folder / "detections.json").read_text())


def test_predicted_objects(results, tmp):
    result = results["predict"]
    assert result.status == 1 and "broken.png" in result.out + result.err
    found = tmp / "found"
    names = {str(path.relative_to(found)) for path in found.rglob("*.*")}
    photos = {"a.png", "a.jpg", "inner/b", "turned"}  # two have one name but for the suffix
    files = {f"{photo}{ending}" for photo in photos for ending in (".objects.json", ".objects.jpg")}
    assert names == files | {"categories.json", "detections.json", "predictions.csv"}
    with Image.open(found / "turned.objects.jpg") as picture:
        assert picture.size == (20, 44)  # upright
    with (found / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["image"].endswith("turned.jpg")]
    boxes = json.loads((found / "turned.objects.json").read_text())
    assert len(rows) == len(boxes) > 0
    for row, box in zip(rows, boxes, strict=True):
        assert 0 <= float(row["x1"]) < float(row["x2"]) <= 20 and row["name"] in ("red", "blue")
        assert int(row["category_id"]) == box["category_id"]


def test_converted_and_evaluated_as_weights(results, tmp):
    succeeded(results["convert"])
    config = json.loads((tmp / "own" / "config.json").read_text())
    assert config["class_names"] == ["red", "blue"] and config["category_ids"] == [1, 2]
    assert config["preprocessing"]["image_size"] == 48
    succeeded(results["evaluate weights"])
    (of_weights,) = (tmp / "of_weights").rglob("metrics.json")
    (of_run,) = (tmp / "run" / "report").rglob("metrics.json")
    one, other = (json.loads(path.read_text()) for path in (of_weights, of_run))
    assert one["examples"] == other["examples"] > 0
    assert one["box_ap"] == pytest.approx(other["box_ap"], abs=1e-6)


def test_planned_without_data(results):
    assert "parameters" in succeeded(results["plan"]).out


@pytest.mark.parametrize(
    "name, words",
    [
        ("other classes", "number 1 is 'blue' there and 'green' here"),
        ("bad score", "--score=2.0: a number from 0 to 1"),
        ("bad class", "--classes: there is no class 'rde'; did you mean 'red'"),
        ("not for it", "--top does not apply: it is for classification models"),
        ("no annotations", "annotations"),
    ],
)
def test_mistakes(results, tmp, name, words):
    result = results[name]
    assert result.status == 2 and words in result.err and "Traceback" not in result.err
    assert not (tmp / "none").exists()
