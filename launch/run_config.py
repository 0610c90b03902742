"""The config of a run, with every field present, so that a command line can override any.

--config=launch/run_config.py:runs/digits
"""

from typing import Any

from ml_collections import ConfigDict

from common.train.run_directory import read_config
from configs.base.complete import complete
from launch.tasks import task_of


def get_config(workdir: str) -> ConfigDict:
    """Returns the config of the run in `workdir`; raises UserError where there is none."""
    config = _tuples(read_config(workdir))
    return complete(ConfigDict(config), task_of(config))


def _tuples(value: Any) -> Any:
    """JSON has lists where a config has tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
