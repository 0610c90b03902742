"""Early stopping: what counts as better, and runs that end at the same step however often they are
interrupted."""

import json

import numpy as np
import pytest

from common.errors import UserError
from common.train.patience import Patience, logged_scores
from tests.train.tiny import logged, make_task, metrics, quick, run, steps


def test_only_a_better_one_counts():
    patience = Patience(2)
    over = []
    for score in (0.1, 0.3, 0.3, 0.4, 0.2, np.nan):
        patience.take(score)
        over.append(patience.is_over)
    assert over == [False] * 5 + [True]
    assert (patience.best, patience.waited) == (0.4, 2)
    assert Patience(2, [0.1, 0.3, 0.3, 0.4, 0.2, np.nan]).is_over
    assert not Patience(None, [0.0] * 100).is_over
    assert Patience(1, [np.nan]).is_over and not Patience(1).is_over


def test_scores_are_read_once_per_step(tmp_path):
    """In the order of steps; later ones and damaged lines are left out, null is no number."""
    lines = [
        {"step": 1, "eval/map": 0.1},
        {"step": 2, "train/loss": 3.0},
        {"step": 4, "eval/map": None},
        {"step": 3, "eval/map": 0.5},
        {"step": 3, "eval/map": 0.6},
        {"step": 5, "eval/map": 0.9},
    ]
    text = "\n".join([*map(json.dumps, lines), '{"step": 2, "eval/m', "[]"])
    (tmp_path / "metrics.jsonl").write_text(text)
    found = logged_scores(str(tmp_path), "eval/map", 4)
    assert found[:2] == [0.1, 0.6] and np.isnan(found[2]) and len(found) == 3
    assert logged_scores(str(tmp_path / "none"), "eval/map", 4) == []


def waiting(**changes):
    """A run that learns nothing: its first evaluation is the best."""
    still = {"optimizer.learning_rate": 1e-12, "optimizer.ema_decay": None}
    still |= {"eval.every_steps": 1, "eval.patience": 2, "train.num_steps": 9}
    return quick(still | changes)


def test_run_ends_early_and_stays_ended(tmp_path, capsys):
    run(waiting(), tmp_path, small=True)
    assert logged(tmp_path, "eval/accuracy_top1").keys() == {1, 2, 3}
    assert (
        "stopped early after step 3: no better eval/accuracy_top1 than" in capsys.readouterr().out
    )
    assert steps(tmp_path)[-1] == 3
    results = run(waiting(), tmp_path, small=True)  # nothing is left to train
    assert results.keys() >= {"eval/accuracy_top1"} and steps(tmp_path)[-1] == 3
    assert max(line["step"] for line in metrics(tmp_path)) == 3
    run(waiting(**{"eval.patience": 4}), tmp_path, small=True)  # more of it goes on
    assert steps(tmp_path)[-1] == 5


def test_interruption_does_not_renew_the_patience(tmp_path):
    run(waiting(**{"train.num_steps": 2}), tmp_path, small=True)
    run(waiting(), tmp_path, small=True)
    assert logged(tmp_path, "eval/accuracy_top1").keys() == {1, 2, 3}


def test_smaller_may_be_better(tmp_path):
    """A loss that grows from the first evaluation on."""
    changes = {"eval.best_metric": "-eval/loss", "optimizer.learning_rate": 1.0}
    run(waiting(**changes), tmp_path, small=True)
    losses = logged(tmp_path, "eval/loss")
    ends = max(losses)
    assert ends < 9 and min(losses[ends], losses[ends - 1]) >= min(losses.values())


def test_wrong_patience():
    with pytest.raises(UserError, match=r"config\.eval\.patience must be positive"):
        run(waiting(**{"eval.patience": 0}), "unused", small=True)


def test_final_report_is_of_the_best_checkpoint(tmp_path, capsys):
    config = waiting(**{"train.final_report": True})
    run(config, tmp_path, task=make_task(config, small=True))
    folder = tmp_path / "report" / "step_1" / "eval"
    assert {"report.html", "predictions.csv", "metrics.json"} <= {p.name for p in folder.iterdir()}
    said = capsys.readouterr().out
    assert "the best checkpoint, of step 1:" in said and f"the report is in {folder}" in said
    run(config, tmp_path, task=make_task(config, small=True))
    assert [path.name for path in folder.parent.iterdir()] == ["eval"]  # it is there already
