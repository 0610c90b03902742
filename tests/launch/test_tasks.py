"""The model's name decides which task a config is for."""

import pytest

from common.errors import UserError
from launch.tasks import make_task
from maxim_jax.tasks.restoration import RestorationTask
from maxvit_jax.tasks.classification import ClassificationTask
from tests.tasks import pairs
from tests.train import tiny


def test_model_decides():
    assert isinstance(make_task(pairs.config()), RestorationTask)
    assert isinstance(make_task(tiny.config()), ClassificationTask)


@pytest.mark.parametrize(
    ("name", "hint"), [("maxim_s5", "'maxim_s3'"), ("maxvit_tinny", "'maxvit_tiny'")]
)
def test_unknown_models(name, hint):
    with pytest.raises(UserError, match=f"unknown model '{name}': did you mean .*{hint}"):
        make_task(tiny.config({"model.name": name}))


def test_no_model():
    with pytest.raises(UserError, match=r"config\.model\.name is missing"):
        make_task(tiny.config({"model": {}}))
