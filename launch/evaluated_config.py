"""The config of what is evaluated: a run's own, or that of the data for weights without a run."""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import configs
import launch
from common.advice import for_config
from common.errors import UserError
from common.model_fields import refuse_code
from common.train.run_directory import read_labels
from common.train.sharding import MeshConfig
from launch import run_config
from launch.config_files import with_home
from launch.tasks import task_of, task_of_model


def config_of_run(workdir: str, asked: Mapping[str, Any]) -> ConfigDict:
    """Returns the config of a run for the devices here.

    Args:
      workdir: of the run.
      asked: fields that the command line sets, such as `"data.eval_split"`.

    Raises:
      UserError: there is no run, or its model names code.
    """
    config = run_config.get_config(workdir)  # its own, whatever --config names
    config.update_from_flattened_dict(asked)
    given = {field.removeprefix("model.") for field in asked}
    with for_config():
        refuse_code(workdir, config.model.to_dict(), given)
    if "class_names" in read_labels(workdir):  # compared with the data's, which says more
        for field in {*task_of(config).open_fields} - given:
            config.model[field] = None
    for axis, size in dataclasses.asdict(MeshConfig()).items():
        if f"mesh.{axis}" not in asked:
            config.mesh[axis] = size
    if "data.eval_batch_size" not in asked:  # the last batch is padded: any size will do
        size, parts = config.data.eval_batch_size or config.data.batch_size, jax.device_count()
        config.data.eval_batch_size = -(-size // parts) * parts
    return config


def is_named() -> bool:
    """Whether the command line names a config, instead of overriding fields of the default."""
    return any(arg.partition("=")[0] == "--config" for arg in sys.argv[1:])


def default_config() -> str:
    """Returns the config whose fields `--config...` may override, by the command line: the run's,
    or that of the weights."""
    given = {}
    for arg, following in itertools.pairwise([*sys.argv, ""]):
        flag, equals, value = with_home(arg).partition("=")
        given[flag] = value if equals else following
    if "--workdir" in given and "--weights" not in given:
        return f"{Path(launch.__file__).with_name('run_config.py')}:{given['--workdir']}"
    recipe, name = "evaluate.py", given.get("--model") or given.get("--weights", "")
    with contextlib.suppress(UserError):  # an unknown model is told later
        recipe = (task_of_model(name).weights_config or recipe).format(name=name)
    return str(Path(configs.__file__).with_name(recipe))
