"""The segmentation task: loss, gradients, evaluation, weights, and what it leaves."""

import csv
import functools
import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.data.label_map_transform import EvalLabelMap
from common.data.shapes import shapes_source
from common.errors import UserError
from common.metrics.segmentation import scores
from common.train.run_directory import LABELS_FILE
from common.weights.mapping import flatten
from maxvit_jax import segmenters
from maxvit_jax.tasks.segmentation import ViewOptions
from tests.golden.cases import full_jit
from tests.golden.weights import make_variables
from tests.tasks.label_maps import CLASSES, PALETTE, SIDE, Squares, config, make_task
from tests.train import tiny

NAME = "poolformer_s12+semantic_fpn"


@functools.cache
def plain():
    """The task, its variables and a batch with padding in one image."""
    task = make_task()
    variables = make_variables(task.model, jnp.zeros((1, SIDE, SIDE, 3)))
    transform = EvalLabelMap(size=SIDE)
    source = Squares(sizes=((SIDE, SIDE), (20, SIDE)))
    rows = [transform(source[i]) for i in range(4)]
    batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return task, variables, batch


@functools.cache
def loss_and_gradient():
    task, _, _ = plain()

    def loss(params, rest, batch):
        return task.loss(rest | {"params": params}, batch, jax.random.key(0))

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def run_loss(batch):
    _, variables, _ = plain()
    rest = {n: v for n, v in variables.items() if n != "params"}
    return loss_and_gradient()(variables["params"], rest, batch)


def test_what_stands_at_ignored_pixels_changes_neither_loss_nor_gradient_where_it_is_padding():
    _, _, batch = plain()
    filled = batch | {"image": batch["image"].copy()}
    filled["image"][1, 20:] = 99  # below the second image
    (loss, _), gradient = run_loss(batch)
    (other, _), other_gradient = run_loss(filled)
    assert loss == other
    tiny.assert_identical(*(flat(g) for g in (gradient, other_gradient)))


def test_ignored_images_have_no_gradient():
    _, _, batch = plain()
    ignored = batch | {"label_map": np.full_like(batch["label_map"], 255)}
    (loss, (_, metrics)), gradient = run_loss(ignored)
    assert loss == 0 and metrics["pixel_accuracy"] == 0
    assert not any(np.any(x) for x in jax.tree.leaves(gradient))


def test_the_auxiliary_head_and_dice_join_the_loss():
    _, _, batch = plain()
    model = config()["model"] | {"auxiliary_channels": 4}
    task = make_task(
        {
            "model": model,
            "task": {"kind": "segmentation", "dice_weight": 0.5, "auxiliary_weight": 0.25},
        }
    )
    variables = make_variables(task.model, jnp.zeros((1, SIDE, SIDE, 3)))
    loss, (_, metrics) = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    rest = float(loss - metrics["cross_entropy"] - 0.5 * metrics["dice"])
    # The auxiliary head's cross entropy, by itself.
    auxiliary = make_task(
        {"model": model, "task": {"kind": "segmentation", "auxiliary_weight": 0.5}}
    )
    double, (_, again) = jax.jit(auxiliary.loss)(variables, batch, jax.random.key(0))
    assert rest > 0 and rest == pytest.approx(float(double - again["cross_entropy"]) / 2, rel=1e-4)


def flat(tree):
    return {name: np.asarray(x) for name, x in flatten(tree).items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps."""
    workdir = tmp_path_factory.mktemp("run") / "seg"
    changes = {"train.num_steps": 150, "eval.every_steps": 150, "checkpoint.every_steps": 150}
    changes |= {"optimizer.learning_rate": 1e-2, "optimizer.ema_decay": 0.5, "train.log_every": 50}
    changes |= {"schedule": {"kind": "constant"}}
    results = tiny.run(config(changes), workdir, task=make_task(changes))
    return workdir, results


def test_it_learns(trained):
    _, results = trained
    assert results["eval/miou"] > 0.9 and results["eval/examples"] == 8


def test_pictures_and_names_are_kept_with_the_run(trained):
    workdir, _ = trained
    assert (workdir / "samples" / "eval_label_maps_00000150.png").exists()
    labels = json.loads((workdir / LABELS_FILE).read_text())
    assert labels == {"class_names": ["ground", "red", "blue"], "palette": PALETTE.tolist()}


def test_other_classes_are_refused_when_a_run_goes_on(trained):
    workdir, _ = trained
    changes = {"train.num_steps": 151, "eval.every_steps": 150, "checkpoint.every_steps": 150}
    changes |= {"optimizer.learning_rate": 1e-2, "optimizer.ema_decay": 0.5, "train.log_every": 50}
    changes |= {"schedule": {"kind": "constant"}}
    other = Squares()
    other.class_names = ("ground", "blue", "green")
    task = make_task(changes, train_source=other, eval_source=other)
    with pytest.raises(UserError, match="number 1 is 'red' there and 'blue' here"):
        tiny.run(config(changes), workdir, task=task)


def test_classes_in_another_order_are_the_runs_by_name_when_it_goes_on(trained):
    workdir, _ = trained
    other = Squares()
    other.class_names = ("blue", "red", "ground")
    task = make_task(train_source=other, eval_source=other)
    with pytest.raises(UserError, match="another config"):  # asked later
        tiny.run(config({"seed": 1}), workdir, task=task)
    assert task.class_names == ["ground", "red", "blue"]
    dataset = task.train_data()
    expected = np.array([2, 1, 0, 255], np.uint8)[np.minimum(other[0]["label_map"], 3)]
    np.testing.assert_array_equal(dataset.source[0]["label_map"], expected)
    np.testing.assert_array_equal(task.labels()["palette"], PALETTE[::-1])


def test_the_report_is_of_whole_images(trained, tmp_path):
    workdir, _ = trained
    source = Squares(5, sizes=((40, 50), (33, 64)), broken=(3,))
    task = make_task(eval_source=source)
    _, variables = segmenters.load_pretrained(task.model, workdir)
    report = task.report(variables, tmp_path / "report", None, ViewOptions())
    assert report.left_out == ["squares/3: broken"]
    assert "compiled for 1 size" in report.lines[-1]
    folder = tmp_path / "report"
    assert {p.name for p in folder.iterdir()} == {
        *("metrics.json", "per_image.csv", "per_class.csv", "report.html"),
        *("confusion.png", "best.png", "worst.png"),
    }
    with (folder / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["width"], row["height"]) for row in rows][:2] == [("50", "40"), ("64", "33")]
    summary = json.loads((folder / "metrics.json").read_text())
    assert summary["examples"] == 4
    mean = np.mean([float(row["miou"]) for row in rows])
    assert summary["mean_image_miou"] == pytest.approx(mean, rel=1e-4)
    # The set's number is of all pixels together.
    predicted = task.predictor(NAME, str(workdir), ViewOptions(), batch_size=1, dtype="float32")
    confusion = np.zeros((CLASSES, CLASSES), int)
    for i in (0, 1, 2, 4):
        example = source[i]
        (_, found), *_ = predicted.run([example["image"]])
        counted = example["label_map"] != 255
        np.add.at(confusion, (example["label_map"][counted], found.label_map[counted]), 1)
    assert summary["miou"] == pytest.approx(scores(confusion)["miou"])
    page = (folder / "report.html").read_text()
    assert "squares/3" in page and "http" not in page


def test_a_run_predicts_files(trained):
    workdir, _ = trained
    predictor = make_task().predictor(
        NAME, str(workdir), ViewOptions(), batch_size=8, dtype="float32"
    )
    (result,) = predictor.run([Squares()[0]["image"]])
    rows = predictor.rows(result)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    assert {row["name"] for row in rows} <= {"ground", "red", "blue"}
    assert set(predictor.files(result, 7)) == {".png", ".overlay.jpg"}
    assert predictor.folder_files()["classes.csv"].splitlines()[2] == b"1,red,250,0,0"
    assert "%" in predictor.text(result)


def test_a_backbone_fills_a_segmenter_and_its_head_follows_the_seed(tmp_path):
    task, variables, _ = plain()
    backbone = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    maxvit_jax.save_pretrained(tmp_path / "backbone", task.model.make_backbone(), backbone)
    found = make_task({"init": {"weights": str(tmp_path / "backbone")}}).pretrained()
    assert list(found["params"]) == ["backbone"]
    tiny.assert_identical(flat(found["params"]["backbone"]), flat(backbone["params"]))


def test_a_run_goes_on_as_another_one_whole_or_with_a_new_head(trained):
    workdir, _ = trained
    whole = make_task({"init": {"weights": str(workdir)}}).pretrained()
    assert set(whole["params"]) == {"backbone", "head"}
    reset = make_task({"init": {"weights": str(workdir), "reset_head": True}}).pretrained()
    assert set(reset["params"]) == {"backbone"}
    model = config()["model"] | {"name": "poolformer_s12+upernet", "head_fields": {"channels": 8}}
    other = make_task({"init": {"weights": str(workdir)}, "model": model}).pretrained()
    assert set(other["params"]) == {"backbone"}


def test_a_classifier_starts_from_a_segmenters_run(trained):
    workdir, _ = trained
    task, _, _ = plain()
    found, _, report = maxvit_jax.load_with_report("poolformer_s12", workdir, num_classes=5)
    assert found.num_classes == 5 and found.widths == task.model.make_backbone().widths
    assert all("head" in name for name in report.fresh)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"task": {"kind": "segmentation", "class_weights": [1.0]}}, "1 for 3 classes"),
        ({"task": {"kind": "segmentation", "dice_weight": -1.0}}, "must not be negative"),
        ({"data.scale": [2.0, 1.0]}, "a smaller and a larger factor"),
        ({"data.resize": [512, 1024]}, "a longer and a shorter side"),
        ({"data.resize": [2**31, 8]}, "a side of 1 to"),
        ({"data.image_size": 10**9}, "a side of 1 to"),
        ({"data.source": "shape"}, "did you mean 'shapes'"),
        ({"data.max_class_share": 0.0}, r"must be in \(0, 1\]"),
    ],
)
def test_mistakes(changes, words):
    with pytest.raises(UserError, match=words):
        make_task(changes)


def test_different_classes_in_training_and_evaluation_are_refused():
    other = Squares()
    other.class_names = ("a", "b", "c")
    with pytest.raises(UserError, match="number 0 is 'ground' there and 'a' here"):
        make_task(train_source=other).train_data()


def test_scales_of_the_command_line():
    assert ViewOptions(scales="0.75, 1").settings()["scales"] == (0.75, 1.0)
    with pytest.raises(UserError, match="numbers with commas"):
        ViewOptions(scales="big").settings()


@pytest.mark.slow
def test_devices_change_neither_losses_nor_metrics(tmp_path):
    changes = {"data.batch_size": 8, "data.eval_batch_size": 8, "train.num_steps": 4}
    changes |= {"train.log_every": 1, "eval.every_steps": 4, "checkpoint.every_steps": 4}
    found = {}
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        # Twelve images: the last batch of the evaluation is padded.
        task = make_task(changes, eval_source=Squares(12))
        results = tiny.run(config(changes), workdir, task=task, devices=devices)
        found[devices] = list(tiny.logged(workdir, "train/loss").values()), results
    np.testing.assert_allclose(found[1][0], found[8][0], rtol=1e-5)
    assert found[1][1] == found[8][1]
    assert found[8][1]["eval/examples"] == 12


@pytest.mark.slow
def test_a_model_learns_scenes_by_heart(tmp_path, monkeypatch):
    """Sixteen of them, nearly as well as a map of stride 4 can have their outlines."""
    monkeypatch.setattr(jax, "jit", full_jit)  # 200 steps: it pays to compile well
    side, steps = 96, 200
    scenes = shapes_source("train", count=16, size=side)
    small = {"stem_widths": (16, 16), "widths": (24, 48, 96, 128), "depths": (1, 1, 2, 1)}
    head = {"channels": 24, "fpn_channels": 32, "dropout": 0.0, "init_scale": 0.1}
    changes = {
        "model": {
            "name": "tiny_moat_0+semantic_fpn",
            "num_classes": len(scenes.class_names),
            "backbone_fields": small | {"drop_path_rate": 0.0, "norm_momentum": 0.9},
            "head_fields": head,
        },
        "task": {"kind": "segmentation", "dice_weight": 1.0},
        "data.image_size": side,
        "data.batch_size": 8,
        "data.eval_batch_size": 16,
        "data.max_class_share": 1.0,
        "data.flip": False,
        "optimizer": {"learning_rate": 4e-3, "clip_norm": 1.0, "ema_decay": 0.9},
        "schedule": {"warmup_steps": steps // 10, "decay_steps": steps},
        "train": {"num_steps": steps, "log_every": 50},
        "eval.every_steps": steps,
        "checkpoint.every_steps": steps,
    }
    task = make_task(changes, train_source=scenes, eval_source=scenes)
    results = tiny.run(config(changes), tmp_path / "run", task=task)
    assert results["eval/examples"] == 16 and results["eval/miou"] > 0.95
