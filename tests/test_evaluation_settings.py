"""Whatever changes results changes the settings; how data is loaded doesn't."""

import numpy as np
import pytest

from common.evaluation_settings import evaluation_settings
from maxim_jax.tasks.restoration import ReportOptions
from tests.train import tiny

VARIABLES = {"params": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3)}}


def settings(changes=None, variables=VARIABLES, options=None, **sources):
    task = tiny.make_task(tiny.quick(changes), small=True, **sources)
    return evaluation_settings(task, variables, task.eval_data(), options)


def relabelled():
    source = tiny.source()
    source.labels = np.roll(source.labels, 1)
    return source


@pytest.mark.parametrize(
    "other",
    [
        {"changes": {"data.mean": (1.0, 2.0, 3.0)}},
        {"changes": {"data.eval_batch_size": 16}},
        {"variables": {"params": {**VARIABLES["params"], "bias": np.float64([0, 0, 1e-300])}}},
        {"options": ReportOptions(ensemble=8)},
        {"eval_source": tiny.source(examples=29)},
        {"eval_source": relabelled()},
    ],
)
def test_what_changes_results(other):
    assert settings(**other) != settings()


def test_what_does_not():
    loading = {"data.num_workers": 2, "data.max_corrupt": 3, "train.num_steps": 9}
    assert settings(loading) == settings(variables={**VARIABLES})


def test_models_differ_by_their_fields():
    tasks = [tiny.make_task(tiny.config({"model": m})) for m in ({"name": "maxvit_tiny"},) * 2]
    tasks.append(tiny.make_task(tiny.config({"model": {"name": "maxvit_tiny", "window_size": 4}})))
    first, same, other = (evaluation_settings(task, {}, {}) for task in tasks)
    assert first == same and first["model"] != other["model"]
