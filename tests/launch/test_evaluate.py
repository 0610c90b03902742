"""`launch.evaluate` for restoration as a user types it, with a model too small to be good.

All commands but those on other devices run in `commands`, once and in turn; the tests look at what
each left. Classifiers are evaluated in test_mains.py.
"""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

import maxim_jax
from configs import maxvit_digits
from maxim_jax.inference import Restorer
from maxim_jax.protocols import PROTOCOLS, measure
from maxvit_jax.tasks.classification import ClassificationTask
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands
from tests.tasks.pairs import MODEL
from tests.train import tiny
from tests.train.test_resume import DIGITS

SETS = {"Rain100L": 2, "Test100": 1}


def evaluate(*arguments, model="maxim_s1"):
    return ["launch.evaluate", f"--model={model}", "--weights={tmp}/model", *arguments]


def folders(*arguments, **options):
    pairs = ["--input={tmp}/pairs/input", "--target={tmp}/pairs/target"]
    return evaluate(*pairs, "--output={tmp}/new", *arguments, **options)


def rain(*arguments):
    return evaluate("--root={tmp}/Rain13k", "--protocol=rain13k", *arguments)


# Command line: what its one line must say.
MISTAKES = {
    "protocol": (folders("--protocol=gopr"), "unknown protocol 'gopr': did you mean 'gopro'"),
    "no targets": (folders("--protocol=dnd"), "dnd can't be measured here"),
    "naming": (folders("--naming=gopr"), "did you mean 'gopro'"),
    "no pairs": (evaluate("--output={tmp}/new"), "pairs need either root, or both input_root"),
    "half": (evaluate("--output={tmp}/new", "--input={tmp}/pairs/input"), "both input_root and"),
    "no folder": (evaluate("--output={tmp}/new", "--root={tmp}/no"), "no folder '{tmp}/no'"),
    "other folders": (
        evaluate("--output={tmp}/new", "--input={tmp}/pairs/input", "--target={tmp}/Rain13k"),
        "no pairs in {tmp}/pairs/input and {tmp}/Rain13k",
    ),
    "no output": (evaluate("--root={tmp}/pairs"), "--weights needs --output"),
    "model": (folders(model="maxim_s7"), "unknown model 'maxim_s7': did you mean 'maxim_s"),
    "tile": (folders("--tile=100"), "tile 100 is no multiple of 64; nearest valid: 64 or 128"),
    "ensemble": (folders("--ensemble=3"), "ensemble 3: 1, 4 or 8 views"),
    "classifier": (
        folders("--protocol=rgb", model="maxvit_tiny"),
        "--protocol does not apply: it is for restoration models",
    ),
    "data of a run": (
        ["launch.evaluate", "--workdir={tmp}/run", "--root={tmp}/pairs"],
        "--root does not apply: a run has its data",
    ),
    "model of a run": (
        ["launch.evaluate", "--workdir={tmp}/run", "--model=maxim_s1"],
        "--model does not apply: a run has its model",
    ),
    "views of a classifier": (
        evaluate("--ensemble=8", "--output={tmp}/new", model="maxvit_tiny"),
        "--ensemble does not apply: it is for restoration models",
    ),
    "classical": (
        ["launch.tools.classical_denoising", "--workdir={tmp}/pairs"],
        "{tmp}/pairs is no run directory",
    ),
}
SMALL = {f"model.{key}": value for key, value in MODEL.items() if key != "name"} | {
    "data.crop_size": 8,
    "data.eval_crop_size": 32,
    "data.batch_size": 2,
    "train.num_steps": 1,
    "schedule.warmup_steps": 0,
}
WORK = {
    "plain": evaluate("--root={tmp}/pairs", "--output={tmp}/reports/plain"),
    "gopro": evaluate(
        "--input={tmp}/pairs/input",
        "--target={tmp}/pairs/target",
        "--protocol=gopro",
        "--tile=64",
        "--overlap=16",
        "--output={tmp}/reports/gopro",
    ),
    "rain": rain("--output={tmp}/reports/rain"),
    "again": rain("--output={tmp}/reports/rain"),
    "train": [
        *("launch.train", "--config=configs/maxim_photos.py:smoke=true", "--workdir={tmp}/run"),
        *(f"--config.{key}={value}" for key, value in SMALL.items()),
    ],
    "run": ["launch.evaluate", "--workdir={tmp}/run"],
    "help": ["launch.evaluate", "--help"],
    "other data": [
        *("launch.evaluate", "--workdir={tmp}/run", "--config.data.source=pairs"),
        *("--config.data.input_root={tmp}/pairs/input", "--output={tmp}/reports/other"),
        *("--config.data.target_root={tmp}/pairs/target", "--config.data.holdout=0"),
        "--config.data.degradations=()",
    ],
    "nothing": [
        *("launch.evaluate", "--model=maxim_s1", "--weights={tmp}/model", "--root={tmp}/broken"),
        "--output={tmp}/reports/nothing",
    ],
}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def model():
    fields = {key: value for key, value in MODEL.items() if key != "name"}
    model = maxim_jax.create_model("maxim_s1", **fields)
    return model, make_variables(model, maxim_jax.example_images(model))


@pytest.fixture(scope="module")
def pairs():
    """By name: input and target; the input is half as bright."""
    photo = photos.astronaut()
    crops = {"a": photo[:40, 100:150], "b": photo[50:120, :64], "c": photo[200:264, 200:300]}
    return {f"{name}.png": (crop // 2, crop) for name, crop in crops.items()}


@pytest.fixture(scope="module")
def tmp(tmp_path_factory, model, pairs):
    folder = tmp_path_factory.mktemp("evaluate")
    maxim_jax.save_pretrained(folder / "model", *model)
    for name, images in pairs.items():
        for kind, image in zip(("input", "target"), images, strict=True):
            save(folder / "pairs" / kind / name, image)
    for name, count in SETS.items():
        for i, images in enumerate(list(pairs.values())[:count]):
            for kind, image in zip(("input", "target"), images, strict=True):
                save(folder / "Rain13k" / "test" / name / kind / f"{i}.png", image)
    broken = folder / "Rain13k" / "test" / "Rain100L"
    save(broken / "input" / "2.png", photos.astronaut()[:30, :20])
    save(broken / "target" / "2.png", photos.astronaut()[:30, :21])
    (broken / "target" / "1.png").write_bytes(b"no image")
    for kind in ("input", "target"):
        (folder / "broken" / kind).mkdir(parents=True)
        (folder / "broken" / kind / "1.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def commands(tmp):
    """What every command left, by name."""
    lines = WORK | {name: line for name, (line, _) in MISTAKES.items()}
    lines = {
        name: [part.replace("{tmp}", str(tmp)) for part in line] for name, line in lines.items()
    }
    return run_commands(lines, tmp / "results")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(commands, tmp, name):
    """One line, status 2, no traceback; some are seen only after the weights are loaded."""
    result = commands[name]
    error = result.err.splitlines()[-1]
    assert error.startswith("error: ") and "Traceback" not in result.err, result.err
    assert MISTAKES[name][1].replace("{tmp}", str(tmp)) in error
    assert result.status == 2
    assert not (tmp / "new").exists()


def read(folder):
    with (folder / "per_image.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    return rows, json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("name", "protocol", "options"),
    [("plain", "rgb", {}), ("gopro", "gopro", {"tile": 64, "overlap": 16})],
)
def test_pairs_are_measured_by_the_protocol(commands, tmp, model, pairs, name, protocol, options):
    result = commands[name]
    assert result.status == 0, result.err
    rows, metrics = read(tmp / "reports" / name)
    restorer = Restorer(*model, **options)
    expected = {
        key: measure(restorer(np.float32(image) / 255), target, PROTOCOLS[protocol])
        for key, (image, target) in pairs.items()
    }
    assert {key.rsplit("/", 1)[-1] for key in rows} == expected.keys()
    for key, row in rows.items():
        for metric, value in expected[key.rsplit("/", 1)[-1]].items():
            assert float(row[metric]) == pytest.approx(value, rel=1e-3)
    mean = np.mean([float(row["psnr"]) for row in rows.values()])
    assert metrics["mean"]["psnr"] == pytest.approx(mean, rel=1e-5)
    assert f"protocol: {protocol}; " in result.out
    deviation = metrics["std"]["psnr"]
    assert f"psnr: {metrics['mean']['psnr']:.4f} (standard deviation {deviation:.4f})" in result.out
    assert f"the report is in {tmp}/reports/{name}\n" in result.out


def test_sets_and_what_is_left_out(commands, tmp):
    """A broken and a mismatched pair: named, the rest measured, status 1."""
    result = commands["rain"]
    assert result.status == 1
    _, metrics = read(tmp / "reports" / "rain")
    assert {name: row["images"] for name, row in metrics["sets"].items()} == {
        "Rain100L": 1,
        "Test100": 1,
    }
    skipped = {row["name"].rsplit("/", 1)[-1] for row in metrics["skipped"]}
    assert skipped == {"1.png", "2.png"}
    left_out = [line for line in result.err.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 2 and "Traceback" not in result.err
    assert "over the means of Test100, Rain100L" in result.out


def test_reports_are_never_overwritten(commands, tmp):
    assert f"the report is in {tmp}/reports/rain-2\n" in commands["again"].out
    first, second = (read(tmp / "reports" / name)[1]["mean"] for name in ("rain", "rain-2"))
    assert first == second


def test_run(commands, tmp):
    """The run's held-out photos at full size, with the run's noise."""
    assert commands["train"].status == 0, commands["train"].err
    assert commands["run"].status == 0, commands["run"].err
    rows, metrics = read(tmp / "run" / "report" / "step_1" / "rgb")
    assert rows.keys() == {"chelsea.png", "coffee.png", "rocket.jpg"}
    assert (rows["chelsea.png"]["width"], rows["chelsea.png"]["height"]) == ("451", "300")
    # Gaussian noise of sigma 25 has 20.17 dB; clipping to 0..255 takes a little of it away.
    assert 20.1 < metrics["mean"]["psnr_input"] < 21


def test_run_on_other_data(commands, tmp):
    """Fields that only restoration has can be overridden."""
    assert commands["other data"].status == 0, commands["other data"].err
    rows, _ = read(tmp / "reports" / "other")
    assert rows.keys() == {"a.png", "b.png", "c.png"}


def test_help_lists_the_flags_of_every_job(commands):
    assert all(
        f"\n  --{name}: " in commands["help"].out for name in ("workdir", "protocol", "root")
    )


def test_nothing_measured_leaves_no_folder(commands, tmp):
    assert commands["nothing"].status == 2
    assert "nothing could be measured" in commands["nothing"].err
    assert not (tmp / "reports" / "nothing").exists()


def test_run_of_another_mesh(tmp_path):
    """Trained on 2 devices with split parameters, its last checkpoint damaged; evaluated on 3."""
    config = maxvit_digits.get_config()
    changes = {"train.num_steps": 4, "eval.every_steps": 2, "data.eval_batch_size": 8}
    config.update_from_flattened_dict(DIGITS | changes | {"mesh.fsdp": 2})
    tiny.run(config, tmp_path, task=ClassificationTask(config), devices=2)
    (tmp_path / "checkpoints" / "4" / "metrics" / "metrics").write_text('{ score": 1.0}')
    evaluate = ["launch.evaluate", f"--workdir={tmp_path}"]
    commands = {
        "whole": evaluate,
        "mesh": [*evaluate, "--config.mesh.fsdp=2"],
        "batch": [*evaluate, "--config.data.eval_batch_size=8"],
    }
    whole, mesh, batch = run_commands(commands, tmp_path / "results", devices=3).values()
    assert (whole.status, mesh.status, batch.status) == (0, 2, 2), (whole, mesh, batch)
    assert "checkpoints/4 is damaged: metrics/metrics differs" in whole.err
    assert f"{tmp_path}, step 2\n" in whole.out and "eval/examples: 359\n" in whole.out
    loss = float(re.search(r"eval/loss: (.*)", whole.out)[1])
    assert loss == pytest.approx(tiny.logged(tmp_path, "eval/loss")[2], abs=2e-4)
    assert "'fsdp': 2, 'tensor': 1} does not fit 3 devices" in mesh.err
    assert "eval_batch_size=8 does not divide over 3 parts" in batch.err
    assert tiny.steps(tmp_path) == [2, 4]  # nothing is moved
