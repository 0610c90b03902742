"""Images with any number of labels: loss, learning, the report, and what is said of photos."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

import maxvit_jax
from common.errors import UserError
from common.task import NoOptions
from common.train.sharding import MeshConfig, make_mesh
from maxvit_jax.tasks.multilabel import MultilabelOptions, MultilabelTask
from tests.golden.weights import make_variables
from tests.train import tiny

SIDE, COLORS = 8, ("blue", "green", "red")
MODEL = {"name": "maxvit_tiny", "stem_widths": [4, 8], "widths": [32], "depths": [1]}
MODEL |= {"window_size": 2, "norm_momentum": 0.9, "drop_path_rate": 0.0}


def color_of(labels, rng):
    """Noise, and light in the channels of the labels."""
    light = np.array([color in labels for color in COLORS[::-1]]) * 150
    return (rng.integers(0, 100, (SIDE, SIDE, 3)) + light).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images of all sets of three labels, and the one file that says which."""
    folder, rng = tmp_path_factory.mktemp("colors"), np.random.default_rng(0)
    rows = ["image,labels"]
    for i in range(64):
        labels = [color for k, color in enumerate(COLORS) if i >> k & 1]
        Image.fromarray(color_of(labels, rng)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{';'.join(labels)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def config(root, changes=None):
    values = {
        "model": MODEL,
        "task": {"kind": "multilabel", "threshold": 0.4},
        "data": {"root": str(root), "holdout": 0.3, "image_size": SIDE, "batch_size": 16}
        | {"crop": "resize", "eval_method": "resize"},
        "optimizer": {"learning_rate": 3e-3, "ema_decay": 0.8},
        "schedule": {"kind": "constant"},
        "train": {"num_steps": 90, "log_every": 30},
        "eval": {"every_steps": 90},
        "checkpoint": {"every_steps": 90},
    }
    return tiny.config(tiny.changed(values, changes or {}))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "colors"
    settings = config(root)
    return workdir, tiny.run(settings, workdir, task=MultilabelTask(settings))


def test_loss_is_the_mean_binary_cross_entropy(root):
    task = MultilabelTask(config(root))
    variables = make_variables(task.model, np.zeros((1, SIDE, SIDE, 3), np.float32))
    dataset = task.train_data()
    rows = [dataset.transform(dataset.source[i], np.random.default_rng(i)) for i in range(4)]
    batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    promised = task.abstract_batch(4)
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        k: (v.shape, v.dtype) for k, v in promised.items()
    }

    @jax.jit
    def both(variables, batch, rng):
        images = (batch["image"] - np.float32(task.data.mean)) / np.float32(task.data.std)
        apply = task.model.apply
        logits, _ = apply(variables, images, train=True, mutable=["batch_stats"])
        return task.loss(variables, batch, rng)[0], logits

    loss, logits = both(variables, batch, jax.random.key(0))
    probabilities, labels = expit(np.float64(logits)), batch["labels"]
    expected = -np.log(np.where(labels > 0, probabilities, 1 - probabilities)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_it_learns_and_keeps_what_outputs_mean(trained):
    workdir, results = trained
    assert results["eval/map"] > 0.95 and results["eval/f1_micro"] > 0.8
    assert json.loads((workdir / "labels.json").read_text()) == {"class_names": [*COLORS]}
    assert (workdir / "samples" / "eval_images_00000090.png").exists()


def test_report(trained, root, tmp_path):
    workdir, results = trained
    task = MultilabelTask(config(root))
    _, variables = maxvit_jax.load_pretrained(task.model, workdir)
    report = task.report(variables, tmp_path, make_mesh(MeshConfig()), NoOptions())
    assert f"eval/map: {results['eval/map']:.4f}" in report.lines
    folder = tmp_path / "eval"
    with (folder / "predictions.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    source = task.eval_source()
    assert [row["file"] for row in rows] == [source.name(i) for i in range(len(source))]
    for row in rows:
        number = int(row["file"].removesuffix(".png"))
        assert row["labels"] == ";".join(c for k, c in enumerate(COLORS) if number >> k & 1)
        assert row["prediction"] == ";".join(c for c in COLORS if float(row[c]) >= 0.4)
    with (folder / "per_class.csv").open(newline="") as file:
        classes = [*csv.DictReader(file)]
    assert [row["class"] for row in classes] == [*COLORS]
    precisions = [float(row["average_precision"]) for row in classes]
    assert np.mean(precisions) == pytest.approx(results["eval/map"], abs=1e-6)
    page = (folder / "report.html").read_text()
    assert f"{results['eval/map']:.4f}" in page and "http" not in page
    wrong = any(row["labels"] != row["prediction"] for row in rows)
    assert (folder / "mistakes.png").exists() == wrong


def test_photos_get_the_labels_over_the_threshold(trained):
    """Whether the data is still there or not; a threshold of one's own wins."""
    workdir, _ = trained
    pixels = color_of(("green", "red"), np.random.default_rng(5))

    def row_of(threshold):
        options = MultilabelOptions(threshold=threshold)
        found = MultilabelTask.predictor(
            "maxvit_tiny", str(workdir), options, batch_size=1, dtype="float32"
        )
        (result,) = found.run([found.prepare(pixels)])
        (row,) = found.rows(result)
        return row

    row = row_of(None)
    assert set(row["labels"].split(";")) == {"green", "red"}
    shares = [float(text) for text in row["probabilities"].split(";")]
    assert shares == sorted(shares, reverse=True) and min(shares) >= 0.4
    assert row_of(0.999999) == {"labels": "", "probabilities": ""}


def test_a_run_goes_on_with_its_classes_in_another_order_by_name(trained, root):
    """Config and data may have one of their own."""
    workdir, _ = trained
    other = config(root, {"data.class_names": ["red", "blue", "green"], "seed": 1})
    task = MultilabelTask(other)
    with pytest.raises(UserError, match="another config") as caught:  # asked later
        tiny.run(other, workdir, task=task)
    assert "class_names" not in str(caught.value)
    assert task.labels() == {"class_names": [*COLORS]}
    for source in (task.eval_source(), task.train_data().source):
        for i in range(len(source)):
            number = int(source.name(i).removesuffix(".png"))
            assert source[i]["labels"].tolist() == [number >> k & 1 for k in range(3)]


def test_what_is_exported_of_a_run_needs_no_data(trained, root, tmp_path):
    workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "run")
    text = (workdir / "config.json").read_text().replace(str(root), "/moved")
    (tmp_path / "run" / "config.json").write_text(text)
    program = MultilabelTask.program("maxvit_tiny", str(tmp_path / "run"), None)
    assert program.info == {"class_names": [*COLORS]}


def test_threshold_is_a_probability():
    with pytest.raises(UserError, match=r"--threshold=1\.0: use a probability between 0 and 1"):
        MultilabelOptions(threshold=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"kind": "multilabel", "threshold": 1.0}}, "threshold must be between 0 and 1"),
        ({"data": {"batch_size": 8}}, "config.data.root is empty"),
        ({"model": MODEL | {"num_classes": 5}}, "num_classes=5, but the data has 3 classes"),
    ],
)
def test_mistakes(root, changes, message):
    with pytest.raises(UserError, match=message):
        MultilabelTask(config(root, changes)).eval_data()
