"""The model's name decides which task a config is for."""

import json

import pytest

from common.errors import UserError
from launch.evaluated_config import config_of_run
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


def test_classes_of_a_run_are_compared_by_name_before_they_are_counted(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny.config()))
    assert config_of_run(str(tmp_path), {}).model.num_classes == tiny.CLASSES
    (tmp_path / "labels.json").write_text('{"class_names": ["dark", "gray", "light"]}')
    assert config_of_run(str(tmp_path), {}).model.num_classes is None
    assert config_of_run(str(tmp_path), {"model.num_classes": 7}).model.num_classes == 7
