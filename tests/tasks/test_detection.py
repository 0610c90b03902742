"""The detection task: loss, evaluation, weights, and what it leaves."""

import functools
import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

import maxvit_jax
from common.data.drawn_objects import shapes_with_objects
from common.errors import UserError
from common.train.run_directory import LABELS_FILE
from common.train.sharding import MeshConfig, make_mesh
from common.weights.mapping import flatten
from maxvit_jax import detectors, segmenters
from maxvit_jax.dense_weights import backbone_of_weights
from maxvit_jax.detected_photos import DetectedPhotos
from maxvit_jax.detection import Detector
from maxvit_jax.detector_info import Canvas, meaning_of_weights
from maxvit_jax.tasks.detection import DetectionOptions, DetectionReportOptions
from tests.golden.cases import full_jit
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.tasks.objects import CLASS_NAMES, SIDE, config, make_task, rectangles
from tests.train import tiny

NAME = "poolformer_s12+retinanet"
TRAINED = {
    "train.num_steps": 120,
    "eval.every_steps": 120,
    "checkpoint.every_steps": 120,
    "train.log_every": 40,
    "optimizer.learning_rate": 4e-3,
    "optimizer.ema_decay": 0.5,
    "schedule": {"kind": "constant"},
}


@functools.cache
def plain():
    """The task, its variables and its compiled loss."""
    task = make_task({"data.scale": [0.5, 1.5]})
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
    return task, make_variables(task.model, image), jax.jit(task.loss)


def batch_of(task, seed):
    """Four training examples."""
    data = task.train_data()
    places = [(seed + i) % len(data.source) for i in (0, 1, 2, 4)]
    rows = [data.transform(data.source[i], np.random.default_rng([seed, i])) for i in places]
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def test_what_stands_beyond_an_image_changes_no_loss():
    task, variables, loss = plain()
    batch = batch_of(task, 0)
    filled = batch | {"image": batch["image"].copy()}
    beyond = 0
    for image, (height, width) in zip(filled["image"], batch["size"], strict=True):
        image[height:], image[:, width:] = 99, 99
        beyond += SIDE * SIDE - height * width
    assert beyond > 0
    (one, _), (other, _) = (loss(variables, b, jax.random.key(0)) for b in (batch, filled))
    assert one == other


def test_one_program_learns_from_all_batches():
    task, variables, loss = plain()
    counts = set()
    for seed in range(20):
        batch = batch_of(task, seed)
        abstract = jax.tree.map(lambda x: (x.shape, x.dtype), task.abstract_batch(4))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == abstract
        total, (_, losses) = loss(variables, batch, jax.random.key(seed))
        assert np.isfinite(total) and total == pytest.approx(float(sum(losses.values())))
        counts.add(int((batch["labels"] >= 0).sum()))
    assert counts == {4, 6, 8} and loss._cache_size() == 1


def test_masks_are_in_a_batch_where_the_model_has_some():
    for head in ("retinanet", "mask_rcnn"):
        task = make_task(head=head)
        assert ("masks" in batch_of(task, 0)) == ("masks" in task.abstract_batch(4))
    boxes = make_task({"model.masks": False}, head="mask_rcnn")
    assert not boxes.model.masks and "masks" not in batch_of(boxes, 0)
    # Objects are pasted by their masks, whatever is learned.
    pasted = {"data.copy_paste": 0.9, "data.scenes": 4, "data.scene_size": 48}
    task = make_task(pasted, train_source=None, eval_source=None)
    assert "masks" not in batch_of(task, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps."""
    workdir = tmp_path_factory.mktemp("run") / "det"
    return workdir, tiny.run(config(TRAINED), workdir, task=make_task(TRAINED))


def test_it_learns(trained):
    workdir, results = trained
    assert results["eval/box_ap"] > 0.6 and results["eval/examples"] == 8
    assert tiny.logged(workdir, "train/box_loss").keys() == {40, 80, 120}


def test_pictures_and_names_are_kept_with_the_run(trained):
    workdir, _ = trained
    for name in ("train_objects_00000000", "eval_objects_00000120"):
        assert (workdir / "samples" / f"{name}.png").exists()
    labels = json.loads((workdir / LABELS_FILE).read_text())
    assert labels == {"class_names": ["red", "blue"], "category_ids": [1, 2]}


def test_other_classes_are_refused_when_a_run_goes_on(trained):
    workdir, _ = trained
    changes = TRAINED | {"train.num_steps": 121}
    other = rectangles(class_names=("blue", "green"))
    task = make_task(changes, train_source=other, eval_source=other)
    with pytest.raises(UserError, match="number 0 is 'red' there and 'blue' here"):
        tiny.run(config(changes), workdir, task=task)


@pytest.fixture(scope="module")
def detector(trained):
    """The run's, and what its numbers mean."""
    workdir, _ = trained
    model, variables = detectors.load_pretrained(NAME, workdir)
    canvas, meaning = meaning_of_weights(workdir, model.num_classes)
    assert meaning.class_names == list(CLASS_NAMES) and canvas.image_size == SIDE
    return Detector(model, variables, canvas, meaning)


def test_photos_of_any_size_have_boxes_in_their_own_pixels(detector):
    for size in ((SIDE, SIDE), (96, 120), (40, 30)):
        example = rectangles(sizes=(size,))[0]
        found = detector(example["image"]).above(0.3)
        assert len(found.boxes) == 2 and found.masks is None
        order = np.argsort(found.boxes[:, 1])
        limit = 0.15 * max(size)
        np.testing.assert_allclose(found.boxes[order], example["boxes"], atol=limit)
        np.testing.assert_array_equal(found.classes[order], example["labels"])
    assert detector._find.__wrapped__._cache_size() == 1
    with pytest.raises(UserError, match="what is no image"):
        detector(b"no image")


def test_the_report_is_of_the_images_as_they_are(trained, tmp_path):
    workdir, results = trained
    task = make_task(TRAINED)
    _, variables = detectors.load_pretrained(task.model, workdir)
    options = DetectionReportOptions(score=0.5)
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    report = task.report(variables, tmp_path / "report", mesh, options)
    assert not report.left_out and "correct" in report.lines[-2]
    folder = tmp_path / "report" / "eval"
    assert {p.name for p in folder.iterdir()} >= {
        *("metrics.json", "detections.json", "classes.csv", "errors.csv", "report.html"),
        *("precision_recall.png", "best.png", "worst.png"),
    }
    summary = json.loads((folder / "metrics.json").read_text())
    assert summary["box_ap"] == pytest.approx(results["eval/box_ap"], abs=1e-6)
    found = json.loads((folder / "detections.json").read_text())
    assert {row["image_id"] for row in found} <= set(range(1, 9))


def test_photos_become_pictures_rows_and_cocos_results(detector):
    image = rectangles(sizes=((96, 120),))[0]["image"]
    predictor = DetectedPhotos(detector, 0.3, "", batch_size=2)
    (result,) = predictor.run([image])
    assert predictor.text(result) == "1 red, 1 blue"
    rows = predictor.rows(result)
    assert [list(row) for row in rows] == [
        ["name", "category_id", "score", "x1", "y1", "x2", "y2"]
    ] * 2
    assert float(rows[0]["score"]) >= float(rows[1]["score"]) >= 0.3
    files = predictor.files(result, 7)
    assert set(files) == {".objects.jpg", ".objects.json"}
    assert Image.open(io.BytesIO(files[".objects.jpg"])).size == (120, 96)
    found = json.loads(files[".objects.json"])
    for row, coco in zip(rows, found, strict=True):
        x, y, width, height = coco["bbox"]
        assert float(row["x2"]) == pytest.approx(x + width, abs=0.01)
        assert float(row["y1"]) == pytest.approx(y, abs=0.01)
        assert coco["category_id"] == row["category_id"] and height > 0
        assert coco["image_id"] == 7
    categories = json.loads(predictor.folder_files()["categories.json"])
    assert categories == [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    for name in CLASS_NAMES:
        of_one = DetectedPhotos(detector, 0.3, f" {name} ", batch_size=1)
        rows = of_one.rows(of_one.run([image])[0])
        assert [row["name"] for row in rows] == [name]
    of_none = DetectedPhotos(detector, 1.0, "", batch_size=1)
    assert of_none.text(of_none.run([image])[0]) == "nothing"


def test_videos_go_on_with_the_same_settings_alone(trained, detector):
    """Of another process: the same weights that were loaded again."""
    model, variables = detectors.load_pretrained(NAME, trained[0])
    other = jax.tree.map(lambda array: np.asarray(array) + 1, variables)
    canvas, meaning = meaning_of_weights(trained[0], model.num_classes)
    again, changed = (Detector(model, v, canvas, meaning) for v in (variables, other))
    first, *others = (
        DetectedPhotos(*options).settings
        for options in (
            *((detector, 0.3, ""), (again, 0.3, "red,blue")),  # which are all
            *((changed, 0.3, ""), (again, 0.4, ""), (again, 0.3, "red")),
        )
    )
    assert [settings == first for settings in others] == [True, False, False, False]
    assert "0x" not in first  # no places in memory


def test_wrong_options(detector):
    with pytest.raises(UserError, match="--classes: there is no class 'rde'; did you mean 'red'"):
        DetectedPhotos(detector, 0.3, "red,rde")
    for options in (DetectionOptions, DetectionReportOptions):
        with pytest.raises(UserError, match=r"--score=1\.5: a number from 0 to 1"):
            options(score=1.5)


def flat(tree):
    return {name: np.asarray(x) for name, x in flatten(tree).items()}


def test_a_backbone_fills_a_detector_and_its_head_follows_the_seed(tmp_path):
    task, variables, _ = plain()
    backbone = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    maxvit_jax.save_pretrained(tmp_path / "backbone", task.model.make_backbone(), backbone)
    found = make_task({"init": {"weights": str(tmp_path / "backbone")}}).pretrained()
    assert list(found["params"]) == ["backbone"]
    tiny.assert_identical(flat(found["params"]["backbone"]), flat(backbone["params"]))


def test_a_run_goes_on_as_another_one_whole_or_with_a_new_head(trained):
    workdir, _ = trained
    whole = make_task({"init": {"weights": str(workdir)}}).pretrained()
    assert set(whole["params"]) == {"backbone", "neck", "head"}
    reset = make_task({"init": {"weights": str(workdir), "reset_head": True}}).pretrained()
    assert set(reset["params"]) == {"backbone"}
    other = make_task({"init": {"weights": str(workdir)}}, head="mask_rcnn").pretrained()
    assert set(other["params"]) == {"backbone"}


def test_other_tasks_start_from_a_detectors_run(trained):
    workdir, _ = trained
    task, _, _ = plain()
    found, _, report = maxvit_jax.load_with_report("poolformer_s12", workdir, num_classes=5)
    assert found.num_classes == 5 and found.widths == task.model.make_backbone().widths
    assert all("head" in name for name in report.fresh)
    segmenter = micro.create(num_classes=3)
    of_run = backbone_of_weights(segmenter, workdir, segmenters.example_images(segmenter))
    assert list(of_run["params"]) == ["backbone"]


def test_a_run_is_kept_as_weights_with_what_they_mean(trained, tmp_path):
    workdir, _ = trained
    model, variables = detectors.load_pretrained(NAME, workdir)
    info = detectors.stored_info(NAME, workdir, model)
    detectors.save_pretrained(tmp_path / "own", model, variables, **info)
    (canvas, meaning), (same, _) = (
        meaning_of_weights(place, 2) for place in (tmp_path / "own", workdir)
    )
    assert canvas == same and isinstance(canvas, Canvas)
    assert meaning.class_names == list(CLASS_NAMES) and meaning.category_ids == [1, 2]
    again, loaded = detectors.load_pretrained(NAME, tmp_path / "own")
    assert again.make_backbone() == model.make_backbone()
    tiny.assert_identical(flat(loaded), flat(variables))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data.scale": [2.0, 1.0]}, "a smaller and a larger factor"),
        ({"data.resize": [512, 1024]}, "a longer and a shorter side"),
        ({"data.source": "shape"}, "did you mean 'shapes'"),
        ({"data.image_size": 0}, "image_size=0: a side of 1 to"),
        ({"data.copy_paste": 1.5}, r"copy_paste must be in \[0, 1\)"),
        ({"data.max_objects": 0}, "max_objects must be positive"),
        ({"data.short_side": 64}, "short_side=64 is not in 1 to image_size"),
        ({"model.convention": "mmdet"}, "did you mean 'mm'"),
        ({"model.chanels": 8}, "did you mean 'channels'"),
        ({"task": {"kind": "detection", "kinds": 1}}, "did you mean 'kind'"),
    ],
)
def test_mistakes(changes, words):
    with pytest.raises(UserError, match=words):
        make_task(changes)


def test_data_that_lacks_something():
    small = {"data.scenes": 2, "data.scene_size": 32, "model.num_classes": 5}
    with pytest.raises(UserError, match=r"num_classes=5, but split 'train' of the data has 3"):
        make_task(small, train_source=None).train_data()
    other = rectangles(class_names=("a", "b"))
    with pytest.raises(UserError, match="number 0 is 'red' there and 'a' here"):
        make_task(train_source=other).train_data()
    boxes = rectangles()
    boxes.has_masks = False
    with pytest.raises(UserError, match="copy_paste needs objects with masks"):
        make_task({"data.copy_paste": 0.5}, train_source=boxes).train_data()


@pytest.mark.slow
def test_devices_change_neither_losses_nor_metrics(tmp_path):
    changes = {"data.batch_size": 8, "data.eval_batch_size": 8, "train.num_steps": 2}
    changes |= {"train.log_every": 1, "eval.every_steps": 2, "checkpoint.every_steps": 2}
    changes |= {"model.sampling_ratio": 1, "model.masks": False}  # quick
    found = {}
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        # Twelve images: the last batch of the evaluation is padded.
        task = make_task(changes, "mask_rcnn", eval_source=rectangles(12))
        results = tiny.run(config(changes, "mask_rcnn"), workdir, task=task, devices=devices)
        found[devices] = list(tiny.logged(workdir, "train/loss").values()), results
    assert len(found[1][0]) == 2
    np.testing.assert_allclose(found[1][0], found[8][0], rtol=1e-5)
    assert found[8][1]["eval/examples"] == 12
    for name, value in found[1][1].items():
        np.testing.assert_allclose(found[8][1][name], value, rtol=1e-3, err_msg=name)


@pytest.mark.slow
def test_mask_rcnn_learns_scenes_by_heart(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "jit", full_jit)  # 300 steps: it pays to compile well
    side, steps = 64, 300
    scenes = shapes_with_objects("train", count=16, size=side)
    small = {"stem_widths": (16, 16), "widths": (24, 48, 96, 128), "depths": (1, 1, 2, 1)}
    changes = {
        "model": {
            "name": "tiny_moat_0+mask_rcnn",
            "backbone_fields": small | {"drop_path_rate": 0.0, "norm_momentum": 0.9},
            "channels": 32,
            "box_channels": 128,
            "anchor_size": 4.0,
            "proposals": 64,
            "samples": 32,
            "sampling_ratio": 2,
        },
        "data.image_size": side,
        "data.batch_size": 8,
        "data.eval_batch_size": 16,
        "data.flip": False,
        "optimizer": {"learning_rate": 3e-3, "clip_norm": 10.0, "ema_decay": 0.9},
        "schedule": {"warmup_steps": steps // 10, "decay_steps": steps},
        "train": {"num_steps": steps, "log_every": 50},
        "eval.every_steps": steps,
        "checkpoint.every_steps": steps,
    }
    task = make_task(changes, train_source=scenes, eval_source=scenes)
    results = tiny.run(config(changes), tmp_path / "run", task=task)
    assert results["eval/examples"] == 16
    assert results["eval/box_ap"] > 0.9 and results["eval/mask_ap"] > 0.8
