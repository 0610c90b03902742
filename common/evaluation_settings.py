"""What an evaluation depends on: an interrupted one goes on where that is the same."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import cloudpickle
import jax
import numpy as np
from flax import linen as nn

from common.model_fields import stored_fields
from common.task import Dataset, Task, Variables
from common.version import __version__

_LOADING = ("num_workers", "max_corrupt")  # of the section `data`: not what is loaded


def evaluation_settings(
    task: Task, variables: Variables, datasets: Mapping[str, Dataset], options: Any = None
) -> dict[str, Any]:
    """Returns as JSON values what decides on results; devices don't.

    Of photos that are read from files the names count, not what is in them.

    Args:
      task: whose model it is.
      variables: of the model, whatever file they are from.
      datasets: evaluated ones, by name, not read yet.
      options: a dataclass, such as the task's `report_options`.
    """
    data = {f.name: getattr(task.data, f.name) for f in dataclasses.fields(task.data)}
    return {
        "version": __version__,
        "job": type(task).__name__,
        "model": _plain(task.model),
        "task": _plain(task.task_config),
        "data": _plain({name: value for name, value in data.items() if name not in _LOADING}),
        "labels": _plain(task.labels()),
        "options": _plain(options),
        "weights": _digest_of_arrays(variables),
        "examples": {
            # As worker processes get them: names, labels, annotations, what transforms do.
            name: hashlib.sha256(cloudpickle.dumps(tuple(dataset))).hexdigest()
            for name, dataset in datasets.items()
        },
    }


def _digest_of_arrays(variables: Variables) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """JSON that is the same in every process."""
    if isinstance(value, nn.Module):
        return {type(value).__name__: _plain(stored_fields(value))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # A function's text has its address in memory.
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else str(value)
