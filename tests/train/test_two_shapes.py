"""Runs on landscape and portrait images: one program a shape, and all else as with one shape."""

import logging
import re

import jax
import numpy as np
import pytest
from flax import linen as nn

from common.data.sources import ArraySource
from common.task import Dataset
from common.train import sharding
from common.train.evaluate import EvalLoop
from tests.train import tiny
from tests.train.test_evaluate_loop import Brightness

STEPS, EXAMPLES = 20, 30
GROUPS = (np.arange(EXAMPLES) % 4 == 1).astype(int)  # 22 landscape images, 8 portrait ones
SHAPES = [(8, 12, 3), (12, 8, 3)]
CONFIG = {
    "train.num_steps": STEPS,
    "train.log_every": 1,
    "eval.every_steps": 10,
    "checkpoint.every_steps": 7,
}


class Pooled(nn.Module):
    """A model of any size that compiles at once."""

    num_classes: int = tiny.CLASSES

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(16, use_bias=False)(x.mean((1, 2)))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


def plain(example, rng=None):
    return {"image": example["image"], "label": np.int32(example["label"])}


def make_task(changes=None):
    rng, labels = np.random.default_rng(0), np.arange(EXAMPLES) % tiny.CLASSES
    images = [rng.integers(0, 60, SHAPES[group], np.uint8) for group in GROUPS]
    images = [image + np.uint8(90 * label) for image, label in zip(images, labels, strict=True)]
    dataset = Dataset(ArraySource(images, labels, ["dark", "gray", "light"]), plain, GROUPS)
    task = tiny.make_task(tiny.quick(CONFIG | (changes or {})))
    task.model = Pooled()
    task.train_data, task.eval_data = lambda: dataset, lambda: {"eval": dataset}
    return task


def run(workdir, changes=None, *, devices):
    config = tiny.quick(CONFIG | (changes or {}))
    return tiny.run(config, workdir, task=make_task(changes), devices=devices)


class Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on four devices, and the names of all programs that it compiled."""
    workdir, handler = tmp_path_factory.mktemp("whole"), Messages()
    logging.getLogger("jax").addHandler(handler)
    try:
        with jax.log_compiles():
            run(workdir, devices=4)
    finally:
        logging.getLogger("jax").removeHandler(handler)
    found = (re.match(r"Compiling jit\((\w+)\)", message) for message in handler.seen)
    return workdir, [match[1] for match in found if match]


def test_one_program_a_shape(whole):
    """Over 20 steps and two evaluations."""
    _, compiled = whole
    assert compiled.count("train_step") == 2 and compiled.count("step") == 2


def test_resumed_bit_for_bit(whole, tmp_path):
    """Stopped where batches of both shapes are done and to come."""
    run(tmp_path, {"train.num_steps": 7}, devices=4)
    run(tmp_path, devices=4)
    tiny.assert_identical(tiny.stored(tmp_path, STEPS), tiny.stored(whole[0], STEPS))
    losses = tiny.logged(tmp_path, "train/loss")
    assert losses == tiny.logged(whole[0], "train/loss") and len(losses) == STEPS


def test_any_number_of_devices(whole, tmp_path):
    run(tmp_path, devices=1)
    for name in ("train/loss", "eval/loss", "eval/examples"):
        found, expected = tiny.logged(tmp_path, name), tiny.logged(whole[0], name)
        np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5)
    assert set(expected.values()) == {EXAMPLES}


def test_evaluation_has_every_example_once():
    task = make_task()
    variables = jax.jit(task.init)(jax.random.key(0))
    mesh, evaluator = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[:4]), Brightness()
    dataset = task.eval_data()["eval"]
    loop = EvalLoop(task, mesh, variables)
    metrics, pictures = loop.run(variables, dataset, [evaluator])
    examples = [dataset.source[i] for i in np.argsort(GROUPS, kind="stable")]
    assert evaluator.seen == [example["label"] for example in examples]
    expected = np.mean([example["image"].mean() for example in examples])
    np.testing.assert_allclose(metrics["brightness"], expected, rtol=1e-6)
    assert pictures  # of the first batch


def test_accumulated(tmp_path):
    run(tmp_path, {"train.accumulate_steps": 2, "train.num_steps": 6}, devices=2)
    assert np.isfinite([*tiny.logged(tmp_path, "train/loss").values()]).all()
