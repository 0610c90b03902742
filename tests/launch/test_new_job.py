"""A third job, in one file and one row of the table, does all that the others do.

All commands run once and in turn; the tests look at what each left. The job is `rotation.py`.
"""

import csv
import json
import signal

import numpy as np
import pytest
from PIL import Image

from tests.launch.forks import ROOT, run_commands
from tests.train import tiny

RECIPE = "--config=tests/launch/rotation.py"
SMALL = ("--config.model.stem_widths=(4,8)", "--config.model.widths=(32,)")
SMALL += ("--config.model.depths=(1,)", "--config.model.window_size=2")
SMALL += ("--config.data.image_size=8", "--config.train.num_steps=1")


def commands(tmp):
    train = ["launch.train", RECIPE]
    killed, traced = f"--workdir={tmp}/killed", "--config.train.profile=(2,3)"
    return {
        "whole": [*train, f"--workdir={tmp}/whole", traced],
        "killed": ["tests.launch.killed", f"{tmp}/killed/checkpoints/4", *train, killed],
        "resumed": [*train, killed],
        "other angle": [*train, killed, "--config.task.largest_angle=45"],
        "evaluate": ["launch.evaluate", f"--workdir={tmp}/whole", "--checkpoint=best"],
        "evaluate a part": [
            *("launch.evaluate", f"--workdir={tmp}/whole", "--config.task.largest_angle=45"),
            f"--output={tmp}/report",
        ],
        "predict": [
            *("launch.predict", f"--workdir={tmp}/whole", f"--input={tmp}/photos"),
            f"--output={tmp}/angles.csv",
        ],
        "top": ["launch.predict", f"--workdir={tmp}/whole", f"--input={tmp}/photos", "--top=3"],
        "as a classifier": [
            *("launch.predict", "--model=maxvit_tiny", f"--weights={tmp}/whole"),
            f"--input={tmp}/photos",
        ],
        "evaluate as a classifier": [
            *("launch.evaluate", "--model=maxvit_tiny", f"--weights={tmp}/whole"),
            f"--output={tmp}/none",
        ],
        "plan": ["launch.plan", RECIPE, "--devices=2"],
        "classifier": [
            *("launch.train", "--config=configs/maxvit_digits.py", f"--workdir={tmp}/classifier"),
            *(f"--config.init.weights={tmp}/whole", "--config.init.reset_head=true", *SMALL),
            "--config.schedule.warmup_steps=0",
        ],
        "no such metric": [
            *(*train, f"--workdir={tmp}/new", "--config.eval.best_metric=eval/errors"),
        ],
        "no such job": [*train, f"--workdir={tmp}/new", "--config.task.kind=rotatio"],
    }


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    lines = commands(tmp)
    return run_commands(lines, tmp / "results", job="tests.launch.rotation:RotationTask")


def test_it_is_one_short_file_and_the_one_of_the_docs():
    text = (ROOT / "tests/launch/rotation.py").read_text()
    assert len(text.splitlines()) <= 100
    assert f"```python\n{text}```" in (ROOT / "docs/contributing.md").read_text()


def test_trained_and_traced(results, tmp):
    assert results["whole"].status == 0, results["whole"].err
    assert tiny.steps(tmp / "whole") == [4, 8]
    assert json.loads((tmp / "whole" / "config.json").read_text())["task"]["kind"] == "rotation"
    assert tiny.logged(tmp / "whole", "eval/error").keys() == {4, 8}
    assert list((tmp / "whole" / "profile").rglob("*.xplane.pb"))


def test_killed_and_resumed(results, tmp):
    assert results["killed"].status == -signal.SIGKILL
    assert results["resumed"].status == 0, results["resumed"].err
    assert "continuing from step 4" in results["resumed"].out
    tiny.assert_identical(tiny.stored(tmp / "killed", 8), tiny.stored(tmp / "whole", 8))
    assert results["other angle"].status == 2
    assert "task.largest_angle: 90.0 -> 45.0" in results["other angle"].err


def test_evaluated_with_a_report(results, tmp):
    assert results["evaluate"].status == 0, results["evaluate"].err
    errors = tiny.logged(tmp / "whole", "eval/error")
    best = min(errors, key=errors.get)  # smaller is better
    assert f"whole, step {best}\n" in results["evaluate"].out
    report = tmp / "whole" / "report" / f"step_{best}" / "eval" / "metrics.json"
    assert json.loads(report.read_text())["error"] == pytest.approx(errors[best], rel=1e-5)
    page = (report.parent / "report.html").read_text()  # of any job that writes none of its own
    assert f"<td>error</td><td>{errors[best]:.4f}</td>" in page and "http" not in page
    other = json.loads((tmp / "report" / "eval" / "metrics.json").read_text())
    assert other["error"] == pytest.approx(min(errors.values()) / 2, rel=0.5)


def test_predicted(results, tmp):
    assert results["predict"].status == 0, results["predict"].err
    with (tmp / "angles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"{tmp}/photos/{name}.png" for name in "ab"]
    assert all(np.isfinite(float(row["angle"])) for row in rows)
    for name in ("as a classifier", "evaluate as a classifier"):
        assert results[name].status == 2
        assert "whole is a run of rotation: give it as --workdir" in results[name].err
    assert results["top"].status == 2
    assert "--top does not apply: it is for classification models" in results["top"].err


def test_planned(results):
    assert results["plan"].status == 0, results["plan"].err
    assert "batch of 16: 8 per device" in results["plan"].out


def test_its_run_is_a_backbone_of_a_classifier(results, tmp):
    assert results["classifier"].status == 0, results["classifier"].err
    assert "arrays used" in results["classifier"].err + results["classifier"].out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no such metric",
            "config.eval.best_metric='eval/errors': no evaluation gives it, did you",
        ),
        (
            "no such job",
            "config.task.kind='rotatio': there is no such job, did you mean 'rotation'",
        ),
    ],
)
def test_mistakes(results, tmp, name, message):
    assert results[name].status == 2 and not (tmp / "new").exists()
    assert message in results[name].err and "Traceback" not in results[name].err
