"""`launch.push`: a run as a folder for the Hub, and back."""

import json

import jax
import numpy as np
import optax
import pytest

import maxvit_jax
from common.errors import UserError
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.state import create_state
from launch.hub_folder import push
from launch.tasks import TASKS, model_and_weights
from maxvit_jax.data_defaults import data_of_weights
from tests.golden.weights import make_variables

FIELDS = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
DATA = {
    **{"source": "digits", "eval_split": "test", "image_size": 8, "batch_size": 8},
    **{"mean": [127.5] * 3, "std": [60.0] * 3, "eval_method": "resize"},
    **{"root": "/home/somebody/secret/digits"},
}
METRICS = [
    {"step": 0, "train/loss": 2.5},
    {"step": 0, "eval/accuracy_top1": 0.25, "eval/loss": None},
    {"step": 7, "eval/accuracy_top1": 0.99},  # later than the checkpoint
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    workdir.mkdir()
    model = maxvit_jax.create_model("maxvit_tiny", **FIELDS, num_classes=10)
    variables = make_variables(model, maxvit_jax.example_images(model))
    config = {
        **{"seed": 3, "model": {"name": "maxvit_tiny", **FIELDS, "num_classes": 10}, "data": DATA},
        **{"train": {"num_steps": 9}, "init": {"weights": "/home/somebody/w.npz"}},
    }
    (workdir / "config.json").write_text(json.dumps(config))
    lines = [json.dumps(line) for line in METRICS]
    (workdir / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 0, "ev']))
    checkpoints = Checkpoints(str(workdir), CheckpointConfig())
    checkpoints.save(create_state(variables, optax.identity(), ema=True), config)
    checkpoints.close()
    return str(workdir), model, variables


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "digits"
    push(run[0], folder, "apache-2.0")
    return folder


def test_a_folder_that_loads(run, folder):
    workdir, model, variables = run
    parent, folder = folder.parent, str(folder)
    assert model_and_weights(None, folder) == ("maxvit_tiny", folder)
    found, arrays = maxvit_jax.load_pretrained(folder)
    assert found == model
    jax.tree.map(np.testing.assert_array_equal, arrays, variables)
    data, names = data_of_weights("maxvit_tiny", folder)
    assert (data.image_size, data.std, data.eval_method) == (8, (60.0,) * 3, "resize")
    assert names == [str(digit) for digit in range(10)]
    assert json.loads((parent / "digits/config.json").read_text())["task"] == "classification"
    assert [p.name for p in parent.iterdir()] == ["digits"]  # nothing of the making
    with pytest.raises(UserError, match="exists already"):
        push(workdir, folder)


def test_the_card(folder):
    card = (folder / "README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("---\n")
    assert front.splitlines()[0] == 'license: "apache-2.0"'
    assert "pipeline_tag: image-classification" in front and "- classification" in front
    assert "| eval/accuracy_top1 | 0.25 |" in text and "| step | 0 |" in text
    assert "train/loss" not in text and "0.99" not in text
    assert "| std | (60.0, 60.0, 60.0) |" in text and "0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in text
    assert "somebody" not in text and '"root": "digits"' in text
    code = text.partition("```python\n")[2].partition("```")[0]
    code = code.replace("path/to/this/folder", str(folder))

    def as_written(inputs):
        names = {"inputs": inputs}
        exec(code, names)
        return names["outputs"]

    images = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    assert jax.eval_shape(as_written, images).shape == (1, 10)


def test_what_can_not_be_published(run, tmp_path):
    with pytest.raises(UserError, match="no run directory"):
        push(str(tmp_path), tmp_path / "new")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("years of work")
    with pytest.raises(UserError, match="exists already"):
        push(run[0], tmp_path / "taken")
    assert not (tmp_path / "new").exists()
    below = tmp_path / "taken" / "file" / "hub"
    with pytest.raises(UserError, match=f"can't write {below}: .*/taken/file is no folder"):
        push(run[0], below)


def test_the_hub_has_words_for_jobs():
    known = {"image-classification", "image-to-image", "image-segmentation", "object-detection"}
    known |= {"unconditional-image-generation", ""}
    assert {task.hub_task for task in TASKS.values()} <= known
