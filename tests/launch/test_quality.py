"""Quality from a folder of one's own photos and a CSV file to scores, by the commands alone.

All commands run once and in turn; the tests look at what each left.
"""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.data.score_files import VOTES, csv_text, write_images
from tests.launch.forks import run_commands, succeeded
from tests.launch.photos import write_photos

RECIPE = "--config=tests/launch/quality_small.py:scores=5,size=8,steps=2,pretrained=false"


def commands(tmp):
    run, photos = f"--workdir={tmp}/run", f"--input={tmp}/photos"
    train = ["launch.train", RECIPE]
    weights = ["launch.predict", "--model=maxvit_tiny", f"--weights={tmp}/run"]
    return {
        "train": [*train, f"--config.data.root={tmp}/mine", run],
        "evaluate": ["launch.evaluate", run, "--config.task.threshold=2"],
        "predict": ["launch.predict", run, photos, f"--output={tmp}/judged"],
        "as weights": [*weights, photos],
        "all odd": [*train, f"--config.data.root={tmp}/odd", f"--workdir={tmp}/none"],
    }


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    write_images(folder / "mine", [f"photos/{i}.png" for i in range(12)])
    rows = [(f"{i}.png", *VOTES[i % 3]) for i in range(13)]
    (folder / "mine" / "scores.csv").write_text(csv_text([*rows, ("0.png", *VOTES[0])]))
    (folder / "odd").mkdir()
    (folder / "odd" / "scores.csv").write_text(csv_text([("gone.png", *VOTES[0]), ("b", -1)]))
    rng = np.random.default_rng(0)
    upright, turned = (rng.integers(0, 256, (*size, 3), np.uint8) for size in ((30, 50), (20, 44)))
    write_photos(folder / "photos", upright, turned)
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    return run_commands(commands(tmp), tmp / "results")


def test_what_is_left_out_is_said(results):
    result = succeeded(results["train"])
    said = "2 rows left out: 1 image listed again (line 15 (0.png)), 1 missing image file (12.png)"
    for start in ("to train on: 11 images", "to evaluate on: 1 images"):
        (line,) = (line for line in result.err.splitlines() if line.startswith(start))
        assert "no split lists: 0.1 of all images are held out, seed 0" in line and said in line
    assert "eval/srcc: " in result.out


def test_evaluated_with_a_report(results, tmp):
    out = succeeded(results["evaluate"]).out
    folder = tmp / "run" / "report" / "step_2" / "eval"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"eval/accuracy: {metrics['accuracy']:.4f}" in out
    assert "on one side of 2." in (folder / "report.html").read_text()


def test_predicted_scores_and_their_sheet(results, tmp):
    result = results["predict"]
    assert result.status == 1 and "broken.png" in result.out + result.err
    assert {path.name for path in (tmp / "judged").iterdir()} == {"predictions.csv", "sheet.png"}
    with (tmp / "judged" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {"a.png", "a.jpg", "inner/b.png", "turned.jpg"}
    assert {row["image"] for row in rows} == {str(tmp / "photos" / name) for name in names}
    for row in rows:
        shares = np.array([float(row[f"{score}"]) for score in range(1, 6)])
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        assert float(row["mean"]) == pytest.approx(shares @ np.arange(1, 6), abs=1e-3)
    with Image.open(tmp / "judged" / "sheet.png") as sheet:
        assert sheet.width > 400  # four beside one another


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("as weights", "is a run of quality: give it as --workdir"),
        ("all odd", "2 rows left out: 1 row with another number of columns (line 3)"),
    ],
)
def test_mistakes(results, tmp, name, words):
    result = results[name]
    assert result.status == 2 and words in result.err and "Traceback" not in result.err
    assert result.err.strip().count("error: ") == 1 and not (tmp / "none").exists()
