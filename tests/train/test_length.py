"""Runs whose length is in epochs: their steps, the schedule that follows, and how they go on."""

import json

import pytest

from common.errors import UserError
from common.train.length import in_steps
from tests.train import tiny


def resolved(changes, examples=3000, workdir="nowhere"):
    config = {
        "data": {"batch_size": 32},
        "schedule": {"warmup_steps": 200, "decay_steps": 2000},
        "train": {"num_steps": 2000},
        "eval": {"every_steps": 200},
        "checkpoint": {"every_steps": 500},
    }
    config = tiny.changed(config, changes)
    return in_steps(config, examples=examples, batch_size=32, workdir=str(workdir))


def test_steps_stay_as_they_are():
    config = {"train": {"num_steps": 7}, "schedule": {"decay_steps": 9}}
    assert in_steps(config, examples=30, batch_size=8, workdir="nowhere") == config


def test_the_schedule_follows():
    found = resolved({"train.num_epochs": 30})
    assert found["train"] == {"num_steps": 2813, "num_epochs": 30}  # 30 * 3000 / 32, rounded up
    assert found["schedule"] == {"warmup_steps": 281, "decay_steps": 2813, "milestones": []}
    assert found["eval"]["every_steps"] == 200 and found["checkpoint"]["every_steps"] == 281


def test_a_few_photos():
    found = resolved({"train.num_epochs": 30}, examples=18)
    assert found["train"]["num_steps"] == 17
    assert found["schedule"] == {"warmup_steps": 2, "decay_steps": 17, "milestones": []}
    assert found["eval"]["every_steps"] == found["checkpoint"]["every_steps"] == 1


@pytest.mark.parametrize(("epochs", "milestones"), [(30, [1125, 2250]), (0.02, [1, 2])])
def test_milestones_follow(epochs, milestones):
    schedule = {"kind": "step", "milestones": [800, 1600]}
    found = resolved({"schedule": schedule, "train.num_epochs": epochs})
    assert found["schedule"]["milestones"] == milestones


@pytest.mark.parametrize("epochs", [0, -1.0, float("inf"), float("nan"), "3"])
def test_no_such_length(epochs):
    with pytest.raises(UserError, match=r"config\.train\.num_epochs"):
        resolved({"train.num_epochs": epochs})


def test_trained_and_gone_on_with_though_the_data_has_grown(tmp_path, capsys):
    changes = {"train.num_epochs": 1.5, "train.log_every": 1}
    tiny.run(tiny.quick(changes), tmp_path, small=True)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["train"]["num_steps"] == 6 and stored["train"]["num_epochs"] == 1.5  # 45 / 8
    assert tiny.steps(tmp_path)[-1] == 6
    out = capsys.readouterr().out
    assert "6 steps of 8 examples are 1.60 epochs" in out and "step 4/6  epoch 1.1/1.6  loss" in out
    tiny.run(tiny.quick(changes), tmp_path, small=True, train_source=tiny.source(examples=99))
    assert "continuing from step 6" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text()) == stored
    with pytest.raises(UserError, match=r"schedule\.decay_steps: 20 -> "):
        tiny.run(tiny.quick(changes | {"train.num_epochs": 3}), tmp_path, small=True)
