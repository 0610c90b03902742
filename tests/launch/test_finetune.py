"""One's own pictures from a folder to a report, by one command each."""

import csv

import numpy as np
import pytest
from PIL import Image

import maxvit_jax
from tests.data.score_files import write_images
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands, succeeded

MODEL = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}


def commands(tmp):
    fields = [f"--config.model.{name}={value}" for name, value in MODEL.items()]
    fields += [f"--config.init.weights={tmp}/weights", "--config.data.batch_size=4"]

    def train(arguments, root, run):
        recipe = f"--config=configs/finetune.py:steps=2,size=16x24,{arguments}"
        place = [f"--config.data.root={tmp}/{root}", f"--workdir={tmp}/{run}"]
        return ["launch.train", recipe, *fields, *place]

    tagged = f"--workdir={tmp}/tagged_run"
    return {
        "classes": train("mode=probe", "photos", "run"),
        "again": train("mode=probe", "photos", "run"),
        "labels": train("mode=probe,multilabel=true", "tagged", "tagged_run"),
        "moved": ["launch.predict", f"--workdir={tmp}/run", f"--input={tmp}/tagged", "--top=1"],
        "predict": [
            *("launch.predict", tagged, f"--input={tmp}/tagged", "--threshold=0.001"),
            f"--output={tmp}/found.csv",
        ],
        "as weights": [
            *("launch.predict", "--model=maxvit_tiny", f"--weights={tmp}/tagged_run"),
            f"--input={tmp}/tagged",
        ],
    }


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    model = maxvit_jax.create_model("maxvit_tiny", num_classes=7, **MODEL)
    variables = make_variables(model, np.zeros((1, 16, 16, 3), np.float32))
    maxvit_jax.save_pretrained(folder / "weights", model, variables)
    write_images(folder / "photos", [f"{c}/{i}.png" for c in ("cat", "dog") for i in range(6)])
    write_images(folder / "tagged", [f"{i}.png" for i in range(10)])
    rows = [f"{i}.png,{i % 2},{i // 2 % 2}" for i in range(10)]
    (folder / "tagged" / "labels.csv").write_text("\n".join(["image,cat,dog", *rows]))
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    lines = commands(tmp)
    first = run_commands({"classes": lines.pop("classes")}, tmp / "first")
    rest = run_commands({"again": lines.pop("again")}, tmp / "second")
    (tmp / "photos").rename(tmp / "elsewhere")
    return first | rest | run_commands(lines, tmp / "results")


@pytest.mark.parametrize(("name", "run"), [("classes", "run"), ("labels", "tagged_run")])
def test_trained_with_a_report(results, tmp, name, run):
    out = succeeded(results[name]).out
    (folder,) = (tmp / run / "report").glob("*/eval")
    assert f"the report is in {folder}" in out
    assert (folder / "report.html").exists() and (folder / "predictions.csv").exists()
    with Image.open(folder / "images.png") as sheet:  # images are 16 x 24, and enlarged
        assert (sheet.width - 4 * (sheet.width // 128)) % 128 == 0 and sheet.height < sheet.width


def test_a_run_that_is_over_is_not_evaluated_again(results, tmp):
    assert "the report is in" not in succeeded(results["again"]).out
    assert len([*(tmp / "run" / "report").glob("*/*")]) == 1


def test_classes_keep_their_names_when_the_data_moves(results):
    lines = [line for line in succeeded(results["moved"]).out.splitlines() if ".png: " in line]
    assert len(lines) == 10 and all("(cat)" in line or "(dog)" in line for line in lines)


def test_labels_of_photos(results, tmp):
    succeeded(results["predict"])
    with (tmp / "found.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 10
    assert all(set(row["labels"].split(";")) == {"cat", "dog"} for row in rows)


def test_labels_are_not_classes(results):
    result = results["as weights"]
    assert result.status == 2
    assert "is a run of multilabel: give it as --workdir" in result.err
