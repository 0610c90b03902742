"""A run begins with what a file has, and for the rest with what its seed gives."""

import numpy as np
import pytest

from common.errors import UserError
from common.train.state import merged, require_fits
from tests.train import tiny

FRESH = {"params": {"a": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}, "b": np.zeros(2)}}


def test_part_is_merged():
    given = {"params": {"a": {"kernel": np.ones((2, 3))}}}
    found = merged(FRESH, given)
    assert found["params"]["a"]["kernel"].sum() == 6 and found["params"]["a"]["bias"].sum() == 0
    assert found["params"].keys() == {"a", "b"}
    assert merged(FRESH, {}) == FRESH


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"params": {"a": {"kernel": np.ones((2, 4))}}},
            r"first params/a/kernel \[2, 4\], where the job has \[2, 3\]",
        ),
        (
            {"params": {"c": np.ones(2)}},
            r"params/c \[2\], where the job has nothing",
        ),
        ({"statistics": {"a": np.ones(2)}}, r"statistics/a \[2\], where the job has nothing"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(UserError, match=f"^config.init.weights: .*{message}"):
        require_fits(FRESH, given, "config.init.weights")
    require_fits(FRESH, {"params": {"b": np.ones(2)}}, "config.init.weights")


def first_state(tmp_path, seed, given):
    """The parameters of a run's first checkpoint, whose step changes nothing to speak of."""
    config = tiny.quick({"seed": seed, "train.num_steps": 1, "optimizer.learning_rate": 1e-12})
    task = tiny.make_task(config, small=True)
    task.pretrained = lambda: given
    tiny.run(config, tmp_path / f"{seed}", task=task)
    return tiny.stored(tmp_path / f"{seed}", 1)


def test_fresh_part_follows_the_seed(tmp_path):
    kernel = np.full((tiny.SIDE**2 * 3, 16), 0.5, np.float32)
    given = {"params": {"Dense_0": {"kernel": kernel}}}
    one, other = (first_state(tmp_path, seed, given) for seed in (1, 2))
    np.testing.assert_allclose(one["params/Dense_0/kernel"], kernel, atol=1e-6)
    np.testing.assert_allclose(other["params/Dense_0/kernel"], kernel, atol=1e-6)
    assert not np.allclose(one["params/Dense_1/kernel"], other["params/Dense_1/kernel"])


def test_initialisation_is_traced_once(tmp_path, monkeypatch):
    """A second time would take seconds of a deep network's start."""
    config = tiny.quick({"train.num_steps": 1})
    task = tiny.make_task(config, small=True)
    init, traced = type(task).init, []

    def counted(self, rng):
        traced.append(rng)
        return init(self, rng)

    monkeypatch.setattr(type(task), "init", counted)
    tiny.run(config, tmp_path, task=task)
    assert len(traced) == 1


def test_another_shape_is_refused_before_a_checkpoint(tmp_path):
    given = {"params": {"Dense_0": {"kernel": np.zeros((3, 16), np.float32)}}}
    with pytest.raises(UserError, match=r"params/Dense_0/kernel \[3, 16\], where the job has"):
        first_state(tmp_path, 0, given)
    assert not (tmp_path / "0").exists()


def test_what_a_failed_start_opened_is_closed(tmp_path, monkeypatch):
    """In a notebook the process goes on, and with it would writers, threads and managers."""
    from common.train import trainer

    closed, close = [], trainer.Checkpoints.close
    monkeypatch.setattr(trainer.Checkpoints, "close", lambda self: closed.append(close(self)))
    config = tiny.quick()
    task = tiny.make_task(config, small=True)

    def fails() -> None:
        raise UserError("no such weights")

    task.pretrained = fails
    with pytest.raises(UserError, match="no such weights"):
        tiny.run(config, tmp_path, task=task)
    assert len(closed) == 1
