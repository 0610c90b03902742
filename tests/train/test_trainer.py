"""Whole runs of the trainer: what they leave, how they go on, and how they fail."""

import json
import re
from unittest import mock

import jax
import numpy as np
import pytest
from PIL import Image

import maxvit_jax
from common.errors import UserError
from common.metrics.evaluator import Evaluator
from common.train import trainer
from common.train.checkpoint import restore_variables
from common.train.schedule import ScheduleConfig, make_schedule
from common.train.sections import parse_trainer_sections
from common.train.sharding import put_batch
from tests.train import tiny
from tests.train.test_resume import disturbed, not_a_number


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Six steps of a MaxViT with stochastic depth, mixup, RandAugment, shift and flip."""
    workdir = tmp_path_factory.mktemp("run")
    results = tiny.run(tiny.config(), workdir)
    return workdir, results


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The same run, stopped at step 3 and continued; what a later death left is dropped."""
    workdir = tmp_path_factory.mktemp("run")
    tiny.run(tiny.config({"train.num_steps": 3}), workdir)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "train/loss": 77}\n{"step": 5, "trai')
    tiny.run(tiny.config({"train.log_every": 1}), workdir)
    return workdir


# ---------------------------------------------------------------- what a run leaves


def test_files(uninterrupted):
    workdir, _ = uninterrupted
    names = {".lock", "config.json", "labels.json", "metrics.jsonl", "checkpoints", "samples"}
    found = {path.name for path in workdir.iterdir()}
    assert names <= found and all(name.startswith("events.") for name in found - names)
    assert len(found - names) == 1
    assert json.loads((workdir / "config.json").read_text()) == tiny.config()
    assert tiny.steps(workdir) == [2, 3, 4, 6]


def test_metrics(uninterrupted):
    workdir, results = uninterrupted
    lines = tiny.metrics(workdir)
    assert [line["step"] for line in lines if "train/loss" in line] == [2, 3, 4, 6]
    assert [line["step"] for line in lines if "eval/loss" in line] == [3, 6]
    assert all(value is not None for line in lines for value in line.values())
    fields = ("loss", "accuracy_top1", "grad_norm", "images_per_second", "data_wait")
    for line in lines:
        if "train/loss" in line:
            assert all(f"train/{name}" in line for name in fields)
            assert 0 <= line["train/data_wait"] < 1 and line["train/images_per_second"] > 0
    assert results == {k: v for k, v in lines[-1].items() if k != "step"}


def test_logged_learning_rate_is_the_one_that_was_used(uninterrupted):
    """Step 1 is the optimizer's step 0."""
    workdir, _ = uninterrupted
    schedule = make_schedule(ScheduleConfig(**tiny.config()["schedule"]), 1e-3)
    for step, value in tiny.logged(workdir, "train/learning_rate").items():
        np.testing.assert_allclose(value, schedule(step - 1), rtol=1e-6)


def test_samples(uninterrupted):
    workdir, _ = uninterrupted
    expected = ["eval_images_00000003", "eval_images_00000006", "train_images_00000000"]
    paths = sorted((workdir / "samples").iterdir())
    assert [path.stem for path in paths] == expected
    # 25 images of all 30 to evaluate on; the eight of a training batch.
    for path, columns in zip(paths, (5, 5, 3), strict=True):
        with Image.open(path) as image:
            assert image.size[0] == columns * (128 + 4)


def test_checkpoints_hold_the_config(uninterrupted):
    workdir, _ = uninterrupted
    for step in tiny.steps(workdir):
        path = workdir / "checkpoints" / str(step) / "config" / "metadata"  # Orbax's name for it
        assert json.loads(path.read_text()) == tiny.config()


def test_initial_variables_are_traced_once(tmp_path):
    """Their shapes and their values come from one trace."""
    config = tiny.quick({"train.num_steps": 1})
    task = tiny.make_task(config, small=True)
    with mock.patch.object(task, "init", wraps=task.init) as init:
        tiny.run(config, tmp_path, task=task)
    assert init.call_count == 1


def test_evaluation_counts_every_example_once(tmp_path):
    """30 examples in batches of 8, against the model applied to all of them at once."""
    config = tiny.quick({"train.num_steps": 2})
    results = tiny.run(config, tmp_path, small=True)
    assert results["eval/examples"] == tiny.EXAMPLES
    source, (_, variables) = tiny.source(), restore_variables(str(tmp_path))
    images = np.stack([source[i]["image"] for i in range(tiny.EXAMPLES)])
    labels = np.array([source[i]["label"] for i in range(tiny.EXAMPLES)])
    task = tiny.make_task(config, small=True)
    logits = np.asarray(task.predict(variables, {"image": images})["logits"], np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert results["eval/accuracy_top1"] == np.mean(logits.argmax(1) == labels)
    expected = -log_probabilities[np.arange(tiny.EXAMPLES), labels].mean()
    np.testing.assert_allclose(results["eval/loss"], expected, rtol=1e-5)


def test_pictures_show_no_padding(tmp_path):
    """Three evaluation images in a batch of eight make a sheet of two columns."""
    source = tiny.source()
    few = type(source)([source[i]["image"] for i in range(3)], [0, 1, 2], source.class_names)
    config = tiny.quick({"train.num_steps": 1, "train.sample_images": True})
    tiny.run(config, tmp_path, small=True, eval_source=few)
    with Image.open(tmp_path / "samples" / "eval_images_00000001.png") as image:
        assert image.size[0] == 2 * (128 + 4)


def test_loss_falls(tmp_path):
    changes = {"optimizer.learning_rate": 1e-2, "schedule.decay_steps": 200, "train.num_steps": 40}
    changes |= {"train.log_every": 10, "eval.every_steps": 100, "checkpoint.every_steps": 100}
    results = tiny.run(tiny.quick(changes), tmp_path, small=True)
    losses = list(tiny.logged(tmp_path, "train/loss").values())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 2
    assert results["eval/accuracy_top1"] > 0.9


# ---------------------------------------------------------------- going on


def test_resume_is_bit_identical(uninterrupted, interrupted):
    """At the step of the break also: the uninterrupted run's checkpoint of it was written while
    the next steps reused the memory."""
    for step in (3, 6):
        expected = tiny.stored(uninterrupted[0], step)
        for part in ("params/", "batch_stats/", "ema/params/", "ema/batch_stats/", "opt_state/"):
            assert any(name.startswith(part) for name in expected)
        tiny.assert_identical(tiny.stored(interrupted, step), expected)
    assert tiny.stored(interrupted, 6)["step"] == 6


def test_metrics_are_cut_back_to_the_step_of_the_break(interrupted):
    assert list(tiny.logged(interrupted, "train/loss")) == [2, 3, 4, 5, 6]
    assert tiny.logged(interrupted, "train/loss")[4] < 10


def test_finished_run_is_evaluated_again_and_left_alone(interrupted, uninterrupted):
    before = tiny.stored(interrupted, 6)
    results = tiny.run(tiny.config(), interrupted)
    assert results == uninterrupted[1]
    tiny.assert_identical(tiny.stored(interrupted, 6), before)


def test_run_of_another_model_is_refused(tmp_path):
    """The config says the same, the checkpoint does not."""
    config = tiny.quick({"train.num_steps": 2})
    tiny.run(config, tmp_path, small=True)
    task = tiny.make_task(config)
    task.model = tiny.Small(num_classes=4)
    with pytest.raises(UserError, match=r"of another model: .* first .*Dense_1/bias \(stored \(3"):
        tiny.run(config | {"train": {"num_steps": 4}}, tmp_path, task=task)


# ---------------------------------------------------------------- checkpoints and weights


class Scripted(Evaluator):
    """An evaluator whose scores are given."""

    metrics = ("accuracy_top1",)

    def __init__(self, scores):
        self._scores = scores

    def update(self, outputs, batch):
        pass

    def compute(self):
        return {"accuracy_top1": next(self._scores)}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Eight checkpoints, four of them evaluated, the second of these the best."""
    workdir = tmp_path_factory.mktemp("scored")
    config = tiny.quick({"train.num_steps": 8, "eval.every_steps": 2, "checkpoint.every_steps": 1})
    config["checkpoint"] |= {"keep_latest": 2, "keep_best": 1}
    task = tiny.make_task(config, small=True)
    scores = iter([0.2, 0.9, 0.5, 0.1])
    task.evaluators = lambda: [Scripted(scores)]
    tiny.run(config, workdir, task=task)
    return workdir


def test_best_and_latest_are_kept(scored):
    assert tiny.steps(scored) == [4, 7, 8]


@pytest.mark.parametrize(("best", "expected"), [(False, 8), (True, 4)])
def test_restore_variables_takes_the_moving_average(scored, best, expected):
    step, variables = restore_variables(str(scored), best=best)
    assert step == expected
    arrays = tiny.stored(scored, step)
    found = jax.tree_util.tree_leaves_with_path(variables)
    assert len(found) == len([name for name in arrays if name.startswith("ema/")])
    for path, leaf in found:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_array_equal(leaf, arrays[f"ema/{name}"])
        assert not np.array_equal(leaf, arrays[name])


def test_best_is_still_known_when_the_run_goes_on(scored):
    """A later process keeps what an earlier one found best."""
    config = json.loads((scored / "config.json").read_text())
    config["train"]["num_steps"] = 10
    task = tiny.make_task(config, small=True)
    task.evaluators = lambda: [Scripted(iter([0.3]))]
    tiny.run(config, scored, task=task)
    assert tiny.steps(scored) == [4, 9, 10]


def test_without_moving_average(tmp_path):
    tiny.run(tiny.quick({"optimizer.ema_decay": None, "train.num_steps": 2}), tmp_path, small=True)
    arrays = tiny.stored(tmp_path, 2)
    _, variables = restore_variables(str(tmp_path))
    assert variables.keys() == {"params", "batch_stats", "constants"}
    kernel = variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel, arrays["params/Dense_0/kernel"])
    results = tiny.run(tiny.quick({"optimizer.ema_decay": None}), tmp_path, small=True)
    assert tiny.stored(tmp_path, 6)["step"] == 6 and results["eval/examples"] == tiny.EXAMPLES


@pytest.mark.parametrize("best", [False, True])
def test_no_checkpoint(tmp_path, best):
    with pytest.raises(UserError, match=r"holds no (evaluated )?checkpoint"):
        restore_variables(str(tmp_path), best=best)


def test_load_pretrained_on_a_run(uninterrupted):
    workdir, _ = uninterrupted
    task = tiny.make_task(tiny.config())
    _, variables = maxvit_jax.load_pretrained(task.model, workdir)
    arrays = tiny.stored(workdir, 6)
    assert variables.keys() == {"params", "batch_stats"}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_array_equal(leaf, arrays[f"ema/{name}"])


def test_training_starts_from_the_weights_of_a_run(uninterrupted, tmp_path):
    """With a rate of nearly nothing the weights stay those of the file."""
    config = tiny.config({"init.weights": str(uninterrupted[0]), "train.num_steps": 1})
    config["train"]["sample_images"] = False
    tiny.run(config, tmp_path)  # the first step of the warm-up has rate zero
    given, found = tiny.stored(uninterrupted[0], 6), tiny.stored(tmp_path, 1)
    for name in found:
        if name.startswith("params/"):
            np.testing.assert_array_equal(found[name], given[f"ema/{name}"])


# ---------------------------------------------------------------- what goes wrong


def test_loss_that_is_not_finite_stops_the_run(tmp_path):
    """The first update makes weights of 3e38, on which the second step overflows."""
    changes = {"optimizer.learning_rate": 3e38, "optimizer.weight_decay": 0.0}
    changes |= {"schedule.warmup_steps": 0, "train.log_every": 1, "checkpoint.every_steps": 1}
    with pytest.raises(UserError) as error:
        tiny.run(tiny.quick(changes), tmp_path, small=True)
    assert re.match(r"train/\w+ is (nan|inf) at step 2: the run stops", str(error.value))
    assert tiny.steps(tmp_path) == [1]  # complete, although the run ended while it was written
    assert all(np.isfinite(array).all() for array in tiny.stored(tmp_path, 1).values())
    assert tiny.metrics(tmp_path)[-1]["train/loss"] is None


def test_means_leave_out_skipped_steps(tmp_path):
    losses = []
    for every in (1, 2):
        changes = {"train.not_finite": "skip", "train.log_every": every, "train.num_steps": 4}
        changes |= {"checkpoint.every_steps": 100, "eval.every_steps": 100}
        with disturbed(3, not_a_number):
            tiny.run(tiny.quick(changes), tmp_path / str(every), small=True)
        losses.append(tiny.logged(tmp_path / str(every), "train/loss"))
    assert losses[0].keys() == {1, 2, 4} and losses[1][4] == losses[0][4]
    assert tiny.logged(tmp_path / "2", "train/skipped")[4] == 0.5


def test_run_that_skips_all_its_steps_stops(tmp_path):
    changes = {"train.not_finite": "skip", "train.log_every": 10, "train.num_steps": 100}
    changes |= {"checkpoint.every_steps": 100, "eval.every_steps": 100}
    broken = mock.patch.object(
        trainer, "put_batch", lambda batch, mesh: put_batch(not_a_number(batch), mesh)
    )
    with (
        broken,
        pytest.raises(UserError, match="the last 50 steps up to 50 were skipped, as their"),
    ):
        tiny.run(tiny.quick(changes), tmp_path, small=True)


@pytest.mark.parametrize("field", ["mesh.tensor", "data.eval_batch_size"])
def test_refused_sizes_leave_the_config_alone(tmp_path, field):
    tiny.run(tiny.quick({"train.num_steps": 2}), tmp_path, small=True)
    before = (tmp_path / "config.json").read_text()
    changes = {field: {"mesh.tensor": 2, "data.eval_batch_size": 7}[field], "train.num_steps": 4}
    with pytest.raises(UserError, match=field.partition(".")[2]):
        tiny.run(tiny.quick(changes), tmp_path, small=True, devices=2)
    assert (tmp_path / "config.json").read_text() == before


def test_corrupt_images(tmp_path, caplog):
    """Two of thirty: counted once each over two epochs, named, replaced; one is one too many."""
    broken = (3, 17)
    sources = {"train_source": tiny.source(broken), "eval_source": tiny.source((5,))}
    changes = {"data.max_corrupt": 1, "train.num_steps": 8, "eval.every_steps": 8}
    with pytest.raises(UserError, match=r"^\[(3|17)\] is unreadable, number 2 .*max_corrupt=1"):
        tiny.run(tiny.quick(changes), tmp_path, small=True, **sources)
    changes["data.max_corrupt"] = 2
    results = tiny.run(tiny.quick(changes), tmp_path, small=True, **sources)
    assert tiny.logged(tmp_path, "train/corrupt")[8] == 2
    assert results["eval/corrupt"] == 1 and results["eval/examples"] == tiny.EXAMPLES - 1
    for index in (*broken, 5):
        assert f"[{index}] is unreadable" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.batch_size": 9, "train.accumulate_steps": 2}, "batch_size=9 .* nearest valid: 8"),
        ({"optimiser": {}}, "config.optimiser: unknown section, did you mean 'optimizer'"),
        ({"optimizer.learning_rat": 1}, "config.optimizer.learning_rat: unknown field"),
        ({"train.num_steps": 0}, "config.train.num_steps must be positive"),
        ({"eval.every_steps": 0}, "config.eval.every_steps must be positive"),
        ({"checkpoint.keep_latest": 0}, "config.checkpoint.keep_latest must be positive"),
        ({"checkpoint.keep_best": -1}, "config.checkpoint.keep_best must not be negative"),
        ({"seed": "x"}, "config.seed must be an integer"),
        ({"seed": -1}, "config.seed must be an integer, 0 or more"),
        ({"mesh.data": 5}, "does not fit 1 devices"),
    ],
)
def test_wrong_config_touches_nothing(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        tiny.run(tiny.quick(changes), tmp_path / "run", small=True)
    assert not (tmp_path / "run").exists()


def test_missing_section_names_the_field():
    config = tiny.config()
    del config["train"]
    with pytest.raises(UserError, match=r"config\.train\.num_steps is missing"):
        parse_trainer_sections(config)


# ---------------------------------------------------------------- other ways to compute


def test_bfloat16_remat_and_accumulation(tmp_path):
    changes = {"model.dtype": "bfloat16", "model.remat": True, "train.accumulate_steps": 2}
    changes |= {"train.num_steps": 2, "train.log_every": 1, "train.sample_images": False}
    tiny.run(tiny.config(changes | {"model.depths": [1], "eval.every_steps": 2}), tmp_path)
    arrays = tiny.stored(tmp_path, 2)
    assert all(a.dtype == np.float32 for name, a in arrays.items() if name.startswith("params/"))
    assert all(np.isfinite(a).all() for a in arrays.values())
    assert abs(tiny.logged(tmp_path, "train/loss")[1] - np.log(tiny.CLASSES)) < 0.1
