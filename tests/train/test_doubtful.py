"""What is said of settings that make no sense together."""

import pytest

from common.train.doubtful import doubtful_settings
from common.train.sections import parse_trainer_sections


def lines(**sections):
    config = {
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"warmup_steps": 50, "decay_steps": 500},
        "train": {"num_steps": 500},
        "eval": {"every_steps": 100},
    }
    for name, fields in sections.items():
        config[name] = config[name] | fields
    return list(doubtful_settings(parse_trainer_sections({"seed": 0, **config})))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"train": {"num_steps": 3000}}, "the last 2,500 of 3,000 steps have a learning rate of 0"),
        ({"train": {"num_steps": 200}}, "config.schedule.decay_steps=200 lets"),
        (
            {"schedule": {"warmup_steps": 499}, "train": {"num_steps": 400}},
            "never reaches its peak",
        ),
        (
            {"schedule": {"kind": "step", "milestones": (100, 500)}},
            "before 1 of 2",
        ),
        ({"eval": {"every_steps": 501}}, "evaluated at its end alone"),
        ({"eval": {"patience": 5}}, "config.eval.patience=5 evaluations, every 100 steps"),
        ({"optimizer": {"ema_decay": 0.9, "ema_start": 500}}, "config.optimizer.ema_start=500"),
        ({"train": {"profile": (501, 510)}}, "nothing is traced"),
    ],
)
def test_said(sections, said):
    (line,) = lines(**sections)
    assert said in line and "\n" not in line


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"train": {"num_steps": 3000}, "schedule": {"end_value": 1e-5}},  # a long last part
        {"train": {"num_steps": 300}},
        {"schedule": {"kind": "constant"}, "train": {"num_steps": 9000}},
        {"eval": {"patience": 4}},
    ],
)
def test_nothing_to_say(sections):
    assert not lines(**sections)
