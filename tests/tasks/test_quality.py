"""The quality task: loss, evaluation, weights, predictions, and what it leaves."""

import csv
import functools
import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

import maxvit_jax
from common.errors import UserError
from common.photo_table import TABLE, photo_table
from common.task import NoOptions
from common.train.optimizer import make_optimizer
from common.train.schedule import make_schedule
from common.train.sections import parse_trainer_sections
from common.train.sharding import MeshConfig, make_mesh
from maxvit_jax import judged_photos
from tests.golden.weights import make_variables
from tests.tasks.patches import SCORES, SIDE, Patches, config, make_task
from tests.train import tiny


@functools.cache
def plain():
    """The task with dropout, its variables, a batch, and its loss, compiled."""
    task = make_task({"model.head_dropout": 0.5})
    variables = make_variables(task.model, jnp.zeros((1, SIDE, SIDE, 3)))
    dataset = task.eval_data()["eval"]
    rows = [dataset.transform(dataset.source[i]) for i in range(4)]
    batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return task, variables, batch, jax.jit(task.loss)


def test_a_batch_is_as_it_was_promised():
    task, _, batch, _ = plain()
    promised = task.abstract_batch(4)
    assert batch.keys() == promised.keys()
    for key, array in batch.items():
        assert (array.shape, array.dtype) == (promised[key].shape, promised[key].dtype)


def test_the_loss_is_the_distance_of_distributions_and_has_dropout():
    _, variables, batch, loss = plain()
    values = [float(loss(variables, batch, jax.random.key(seed))[0]) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    metrics = loss(variables, batch, jax.random.key(0))[1][1]
    assert 0 < metrics["emd"] < values[0]  # the mean is below the root of the mean square
    assert 0 < metrics["mean_error"] < 4


def test_head_and_backbone_have_their_own_rates():
    _, variables, _, _ = plain()
    cfg = parse_trainer_sections(config())
    optimizer = make_optimizer(cfg["optimizer"], make_schedule(cfg["schedule"], 1e-2))
    params = {k: variables["params"][k] for k in ("head", "stem")}

    @jax.jit
    def first_step(params):
        gradient = jax.tree.map(jnp.ones_like, params)
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    steps = first_step(params)
    for part, size in (("head", 1e-2), ("stem", 5e-3)):
        for step in jax.tree.leaves(steps[part]):
            np.testing.assert_allclose(step, -size, rtol=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps."""
    workdir = tmp_path_factory.mktemp("run") / "quality"
    return workdir, tiny.run(config(), workdir, task=make_task())


def test_it_learns(trained):
    workdir, results = trained
    assert results["eval/srcc"] > 0.9 and results["eval/plcc"] > 0.9
    assert results["eval/examples"] == 12
    assert (workdir / "samples" / "eval_images_00000060.png").exists()
    labels = json.loads((workdir / "labels.json").read_text())
    assert labels == {"class_names": list("12345"), "scores": list(SCORES)}


def test_the_report_has_every_image(trained, tmp_path):
    workdir, results = trained
    task = make_task()
    _, variables = maxvit_jax.load_pretrained(task.model, workdir)
    report = task.report(variables, tmp_path, make_mesh(MeshConfig()), NoOptions())
    assert f"eval/srcc: {results['eval/srcc']:.4f}" in report.lines
    files = {path.name for path in (tmp_path / "eval").iterdir()}
    pictures = {"scatter.png", "best.png", "worst.png", "images.png"}
    assert files == pictures | {"metrics.json", "per_image.csv", "report.html"}
    with (tmp_path / "eval" / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"patches/{i}" for i in range(12)]
    dataset = task.eval_data()["eval"]
    for i, row in enumerate(rows):
        example = dataset.transform(dataset.source[i])
        true = float(example["distribution"] @ np.array(SCORES))
        assert float(row["true_mean"]) == pytest.approx(true, rel=1e-5)
    found = [float(row["mean"]) for row in rows]
    batch = {"image": np.stack([dataset.transform(dataset.source[i])["image"] for i in range(12)])}
    expected = jax.jit(task.predict)(variables, batch)["distribution"] @ np.array(SCORES)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    page = (tmp_path / "eval" / "report.html").read_text()
    assert f"{results['eval/plcc']:.4f}" in page and "http" not in page


def test_photos_are_judged_and_shown_best_first(trained, tmp_path, monkeypatch, caplog):
    workdir, _ = trained
    predictor = make_task().predictor(
        "maxvit_tiny", str(workdir), NoOptions(), batch_size=2, dtype="float32"
    )
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, gray in (("dark", 40), ("light", 220), ("middle", 128)):
        Image.fromarray(np.full((20, 30, 3), gray, np.uint8)).save(photos / f"{name}.png")
    paths = sorted(photos.iterdir())
    with photo_table(tmp_path / TABLE) as table:
        for path in paths:
            (result,) = predictor.run([predictor.prepare(path.read_bytes())])
            (row,) = predictor.rows(result)
            assert list(row) == ["mean", "std", "1", "2", "3", "4", "5"]
            shares = np.array([float(row[name]) for name in "12345"])
            assert shares.sum() == pytest.approx(1, abs=1e-5)
            assert float(row["mean"]) == pytest.approx(shares @ SCORES, abs=1e-3)
            assert predictor.text(result) == f"{row['mean']} ± {row['std']}"
            assert predictor.files(result, 0) == predictor.folder_files() == {}
            table.write(path, predictor.rows(result))
        sheets = []
        monkeypatch.setattr(
            judged_photos, "comparison_sheet", lambda *args, **_: sheets.append(args) or photo()
        )
        assert list(predictor.closing_files(tmp_path)) == ["sheet.png"]
        monkeypatch.setattr(judged_photos, "MOST_SHOWN", 2)
        paths[-1].unlink()  # the middle one: nothing is said of it
        with caplog.at_level("INFO"):
            predictor.closing_files(tmp_path)
        assert "no longer there" not in caplog.text
        monkeypatch.setattr(judged_photos, "MOST_SHOWN", 3)
        predictor.closing_files(tmp_path)
        assert f"sheet.png lacks photos that are no longer there: {paths[-1]}" in caplog.text
        sheets.pop()
    (_, [captions]), (_, [of_two]) = sheets
    names = [caption.split()[-1] for caption in captions]
    assert names == ["light.png", "middle.png", "dark.png"]
    means = [float(caption.split()[1]) for caption in captions]
    assert means == sorted(means, reverse=True) and means[0] - means[-1] > 1
    assert [caption.split()[0] for caption in of_two] == ["1:", "3:"]


def photo():
    return np.zeros((2, 2, 3), np.uint8)


def test_a_classifiers_weights_get_a_fresh_head(tmp_path):
    task, _, _, _ = plain()
    classifier = task.model.clone(num_classes=7)
    weights = make_variables(classifier, jnp.zeros((1, SIDE, SIDE, 3)))
    maxvit_jax.save_pretrained(tmp_path / "seven", classifier, weights)
    init = {"weights": str(tmp_path / "seven"), "reset_head": True}
    found = make_task({"init": init}).pretrained()
    assert set(found["params"]) == set(weights["params"])
    assert set(found["params"]["head"]) == {"norm"}
    with pytest.raises(UserError, match=r"init\.reset_head=true"):
        make_task({"init": init | {"reset_head": False}}).pretrained()


def test_other_scores_are_refused_when_a_run_goes_on(trained):
    workdir, _ = trained
    changes = {"data.scores": [0.0, 1.0, 2.0, 3.0, 4.0], "train.num_steps": 61}
    with pytest.raises(UserError, match=r"data\.scores"):
        tiny.run(config(changes), workdir, task=make_task(changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task.threshold": 5.0}, "does not part the scores 1 to 5; such as 3 does"),
        ({"model.num_classes": 10}, "there are 5 scores"),
        ({"data.scores": [1.0, 1.0]}, "two or more, increasing"),
        ({"data.scores": [1.0]}, "two or more, increasing"),
        ({"data.count_columns": ["a", "b"]}, "2 for 5 scores"),
        ({"data.source": "kaggle"}, "choose from ava, csv, photos"),
        ({"data.holdout": 0.0}, "between 0 and 1"),
        ({"data.split_seed": -1}, "must not be negative"),
        ({"data.min_area": 0.0}, "must be in"),
    ],
)
def test_mistakes(changes, words):
    with pytest.raises(UserError, match=words):
        make_task(changes)


@pytest.mark.slow
def test_a_model_learns_64_images_by_heart(tmp_path):
    changes = {"train.num_steps": 300, "eval.every_steps": 300, "checkpoint.every_steps": 300}
    changes |= {"data.batch_size": 32, "data.flip": False}
    sources = dict.fromkeys(("train_source", "eval_source"), Patches(64))
    results = tiny.run(config(changes), tmp_path / "run", task=make_task(changes, **sources))
    assert results["eval/examples"] == 64 and results["eval/srcc"] > 0.95
