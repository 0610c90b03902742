"""Our own weight format: a directory of `model.safetensors` and `config.json`.

Arrays are named by collection and module (`params/stem/conv_0/kernel`). The config says which model
they are for, and carries the SHA-256 of the arrays.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from common.errors import UserError
from common.json_files import read_json
from common.unfinished import unfinished_folder
from common.weights.hub_folder import CONFIG, read_hub
from common.weights.readers import WeightFile, as_float32
from common.weights.refusals import require_plain
from common.weights.safetensors_files import parse_safetensors

ARRAYS = "model.safetensors"
FORMAT_VERSION = 1


def is_own(path: epath.PathLike) -> bool:
    """Whether the path is a directory in our format."""
    path = epath.Path(path)
    return (path / ARRAYS).exists() and (path / CONFIG).exists() and read_hub(path) is None


def save(
    path: epath.PathLike,
    arrays: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Writes a directory in our format, complete or not at all.

    Args:
      path: the directory to make.
      arrays: by flat name.
      config: JSON-able; `family`, `model` and `fields` say how to build the model.
      overwrite: replace such a directory.

    Raises:
      UserError: the path is taken (with `overwrite`: by something else than our format).
    """
    path = epath.Path(path)
    require_free(path, overwrite=overwrite)
    data = to_safetensors(arrays)
    config = {
        "format_version": FORMAT_VERSION,
        **config,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    with unfinished_folder(path) as folder:
        (folder / ARRAYS).write_bytes(data)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        if path.exists():
            path.rmtree()


def load(path: epath.PathLike) -> tuple[WeightFile, dict[str, Any]]:
    """Reads a directory in our format.

    Args:
      path: the directory.

    Returns:
      The arrays under their names without collection, and the config.

    Raises:
      UserError: a file is missing, damaged or from a newer version.
    """
    path = epath.Path(path)
    config = read_config(path)
    require_plain(path / ARRAYS)
    data = (path / ARRAYS).read_bytes()
    if hashlib.sha256(data).hexdigest() != config["sha256"]:
        raise UserError(f"{path / ARRAYS} is damaged: its SHA-256 is not the one in {CONFIG}")
    stored = parse_safetensors(path / ARRAYS, data)
    arrays = {name.partition("/")[2]: as_float32(array) for name, array in stored.items()}
    return WeightFile(str(path), "our format", arrays), config


def read_config(path: epath.PathLike) -> dict[str, Any]:
    """Reads what a directory in our format says about its arrays.

    Raises:
      UserError: a file is missing, damaged or from a newer version.
    """
    path = epath.Path(path)
    if not is_own(path):
        raise UserError(f"{path} is not a directory with {ARRAYS} and {CONFIG}")
    config = read_json(path / CONFIG)
    try:
        version, _ = config["format_version"], config["sha256"]
        if not isinstance(config.get("fields", {}), dict):
            raise TypeError("fields are no object")
    except (KeyError, TypeError) as error:
        raise UserError(f"{path / CONFIG} is damaged ({type(error).__name__}: {error})") from error
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has format {version}, this version reads {FORMAT_VERSION}: update")
    return config


def to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the content of a safetensors file."""
    from safetensors.numpy import save

    return save({name: np.asarray(a, order="C") for name, a in arrays.items()})


def require_free(path: epath.Path, *, overwrite: bool = False) -> None:
    """Checks that nothing would be lost by writing a path, and that it can be there.

    Raises:
      UserError: something is there already; with `overwrite`, something else than our format. Or
        the path goes through a file.
    """
    above = next((parent for parent in path.parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise UserError(f"can't write {path}: {above} is no folder")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise UserError(f"{path} exists already: choose another path or remove it")
    if not path.is_dir() or {p.name for p in path.iterdir()} != {ARRAYS, CONFIG}:
        raise UserError(f"{path} is not a directory in our format: it is not overwritten")
