"""What evaluators get, when, and what of it decides which checkpoint is best."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.evaluation_report import evaluate_and_write
from common.metrics.classification import ClassificationEvaluator
from common.metrics.evaluator import Evaluator
from common.train import sharding
from common.train.evaluate import EvalLoop
from common.unfinished_report import unfinished_report
from maxvit_jax.embeddings import EmbeddingCollector
from maxvit_jax.tasks.embedding import EmbeddingTask
from tests.train import tiny


class Brightness(Evaluator):
    """Adds up pixels on the devices; of every example it wants the label alone."""

    metrics = ("brightness", "labels")
    inputs = ("label",)

    def __init__(self, every=1):
        self.every = every
        self.total, self.count, self.seen, self.names = 0.0, 0.0, [], set()
        self.places = []

    def sums(self, outputs, batch):
        mean = jnp.mean(jnp.asarray(batch["image"], jnp.float32), (1, 2, 3))
        return {"total": jnp.sum(mean * batch["mask"]), "count": jnp.sum(batch["mask"])}

    def update(self, outputs, batch):
        self.names |= outputs.keys() | batch.keys()
        self.total += outputs["total"]
        self.count += outputs["count"]
        self.seen += batch["label"][batch["mask"] > 0].tolist()
        self.places += batch["index"][batch["mask"] > 0].tolist()

    def compute(self):
        return {"brightness": self.total / self.count, "labels": float(len(self.seen))}


@pytest.mark.parametrize("devices", [1, 4])
def test_evaluators_get_what_they_name(devices):
    """30 examples in batches of 8 on one device and on four: sums without padding, labels once."""
    task = tiny.make_task(tiny.quick(), small=True)
    variables = jax.jit(task.init)(jax.random.key(0))
    mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:devices])
    loop, evaluator = EvalLoop(task, mesh, variables), Brightness()
    evaluators = [evaluator, *task.evaluators()]
    metrics, pictures = loop.run(variables, task.eval_data()["eval"], evaluators, pictures=False)
    source = tiny.source()
    examples = [source[i] for i in range(tiny.EXAMPLES)]
    expected = np.mean([example["image"] for example in examples], dtype=np.float64)
    np.testing.assert_allclose(metrics["brightness"], expected, rtol=1e-6)
    assert evaluator.seen == [example["label"] for example in examples]
    assert evaluator.names == {"total", "count", "label", "mask", "index"}  # no image, no logits
    assert evaluator.places == [*range(tiny.EXAMPLES)]
    assert metrics["examples"] == tiny.EXAMPLES and pictures == {}


@pytest.mark.parametrize("devices", [1, 4])
def test_pictures_are_of_examples_from_all_over(devices):
    """Evenly spaced ones in their order, but for an unreadable one; files lie class by class."""
    task = tiny.make_task(tiny.quick({"data.max_corrupt": 1}), small=True)
    task.shown, task.visualise = 4, lambda batch, outputs: {"seen": (batch, outputs)}
    variables = jax.jit(task.init)(jax.random.key(0))
    mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:devices])
    dataset = task.eval_data()["eval"]._replace(source=tiny.source(broken=(19,)))
    _, pictures = EvalLoop(task, mesh, variables).run(variables, dataset, task.evaluators())
    batch, outputs = pictures["seen"]
    source = tiny.source()
    chosen = [source[i] for i in (0, 9, 29)]  # 0, 9, 19 and 29 of 30
    np.testing.assert_array_equal(batch["image"], [example["image"] for example in chosen])
    assert batch["label"].tolist() == [example["label"] for example in chosen]
    assert outputs["logits"].shape == (3, tiny.CLASSES)


class Interruption:
    """Ends evaluations after some batches, and counts those that the devices get."""

    def __init__(self, monkeypatch, kind):
        self.computed, self.left = 0, 99
        put, update = sharding.put_batch, kind.update

        def counted(*batch):
            self.computed += 1
            return put(*batch)

        def interrupted(*batch):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            update(*batch)

        monkeypatch.setattr(sharding, "put_batch", counted)
        monkeypatch.setattr(kind, "update", interrupted)

    def during(self, batch, evaluate):
        self.left = batch
        with pytest.raises(KeyboardInterrupt):
            evaluate()
        self.computed, self.left = 0, 99


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_interrupted_evaluation_goes_on(tmp_path, monkeypatch, capsys):
    """With the batch under way, and the same bits in every file of the report."""
    task = tiny.make_task(tiny.quick(), small=True)
    variables = jax.jit(task.init)(jax.random.key(0))
    mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
    interruption = Interruption(monkeypatch, ClassificationEvaluator)

    def evaluate(name="cut", variables=variables):
        return evaluate_and_write(task, variables, tmp_path / name, mesh)

    assert evaluate("whole").lines[-1] == f"the report is in {tmp_path}/whole/eval"
    assert interruption.computed == 4  # of 8, 30 examples
    interruption.during(2, evaluate)
    assert not (tmp_path / "cut" / "eval").exists()
    evaluate()
    assert interruption.computed == 2
    assert (
        "going on after 16 of 30 examples of an interrupted evaluation" in capsys.readouterr().out
    )
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["eval"]
    whole = files(tmp_path / "whole" / "eval")
    assert files(tmp_path / "cut" / "eval") == whole and "images.png" in whole
    # What other weights gave is no use.
    interruption.during(3, evaluate)
    evaluate(variables=jax.tree.map(lambda x: x + 1, variables))
    assert interruption.computed == 4
    assert files(tmp_path / "cut" / "eval-2")["metrics.json"] != whole["metrics.json"]


def test_interrupted_embeddings_go_on(tmp_path, monkeypatch):
    """In the second of both sets."""
    task = EmbeddingTask(tiny.quick(), train_source=tiny.source(), eval_source=tiny.source())
    task.model = tiny.Small()
    variables = jax.jit(task.init)(jax.random.key(0))
    mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1])
    interruption = Interruption(monkeypatch, EmbeddingCollector)

    def embeddings():
        with unfinished_report(tmp_path / "probe", {}) as report:
            return task.embeddings(variables, mesh, task.eval_data(), report.kept)

    whole = embeddings()
    interruption.during(5, embeddings)
    found = embeddings()
    assert interruption.computed == 3
    for part in ("train", "eval"):
        assert found[part].vectors.tobytes() == whole[part].vectors.tobytes()
        assert found[part].names == whole[part].names


def test_unknown_array_is_named():
    class Wrong(Brightness):
        outputs = ("logit",)

    task = tiny.make_task(tiny.quick(), small=True)
    variables = jax.jit(task.init)(jax.random.key(0))
    loop = EvalLoop(task, sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:1]), variables)
    with pytest.raises(UserError, match="Wrong needs 'logit'; there are only logits"):
        loop.run(variables, task.eval_data()["eval"], [Wrong()])


def with_brightness(every=1, **config):
    """The tiny job with a second evaluator."""
    task = tiny.make_task(tiny.quick(config), small=True)
    own = task.evaluators
    task.evaluators = lambda: [*own(), Brightness(every)]
    return task


def test_cadence(tmp_path):
    """The second takes part in every other evaluation, and in the last."""
    changes = {"eval.every_steps": 1, "train.num_steps": 5}
    tiny.run(tiny.quick(changes), tmp_path, task=with_brightness(2, **changes))
    assert tiny.logged(tmp_path, "eval/loss").keys() == {1, 2, 3, 4, 5}
    assert tiny.logged(tmp_path, "eval/brightness").keys() == {2, 4, 5}


def test_smaller_may_be_better(tmp_path):
    """The checkpoint of the smallest loss is kept, beside the last."""
    changes = {"eval.every_steps": 1, "train.num_steps": 6, "eval.best_metric": "-eval/loss"}
    changes |= {"optimizer.learning_rate": 0.3, "optimizer.ema_decay": None}  # it goes astray
    changes |= {"checkpoint.keep_latest": 1}
    tiny.run(tiny.quick(changes), tmp_path, small=True)
    losses = tiny.logged(tmp_path, "eval/loss")
    best = min(losses, key=losses.get)
    assert best != 6 and tiny.steps(tmp_path) == sorted({best, 6})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("eval/acuracy_top1", r"no evaluation gives it, did you mean 'eval/accuracy_top1'"),
        ("-test/loss", r"best_metric='-test/loss': no evaluation gives it"),
    ],
)
def test_best_metric_that_nothing_gives(tmp_path, metric, message):
    """Told before anything is made."""
    with pytest.raises(UserError, match=message):
        tiny.run(tiny.quick({"eval.best_metric": metric}), tmp_path / "run", small=True)
    assert not (tmp_path / "run").exists()


def test_two_evaluators_of_one_metric(tmp_path):
    task = with_brightness()
    task.evaluators = lambda: [Brightness(), Brightness()]
    with pytest.raises(UserError, match="two evaluators of classification give eval/brightness"):
        tiny.run(tiny.quick(), tmp_path, task=task)


def test_evaluators_that_are_all_rare(tmp_path):
    """Between their turns nothing is evaluated; at the end, also past it, all are."""
    changes = {"eval.every_steps": 1, "train.num_steps": 3}
    task = with_brightness(2, **changes)
    task.evaluators = lambda: [Brightness(2)]
    config = tiny.quick(changes | {"eval.best_metric": "eval/brightness"})
    tiny.run(config, tmp_path, task=task)
    assert tiny.logged(tmp_path, "eval/brightness").keys() == {2, 3}
    shorter = tiny.changed(config, {"train.num_steps": 2})
    assert tiny.run(shorter, tmp_path, task=task).keys() == {"eval/brightness", "eval/labels"}
