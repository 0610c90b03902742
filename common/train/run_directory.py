"""The run directory: one run's config, and the rule on when a directory may be continued."""

import json
from typing import Any

from etils import epath

from common.errors import UserError

CONFIG_FILE = "config.json"

# These may change when a run is continued: they decide where, how fast and how long, not what.
RESUMABLE = (
    "mesh",
    "train.num_steps",
    "train.log_every",
    "train.sample_images",
    "eval.every_steps",
    "checkpoint",
    "data.root",  # data that moved
    "data.input_root",
    "data.target_root",
    "data.data_dir",
    "data.num_workers",
    "data.eval_batch_size",
    "data.max_corrupt",
)


def open_run(workdir: str, config: dict[str, Any]) -> list[str]:
    """Creates a run directory, or checks that the one that is there belongs to this config.

    Args:
      workdir: local path or bucket path.
      config: the whole config as plain JSON values.

    Returns:
      Lines on what changed within bounds, to be printed.

    Raises:
      UserError: the directory holds something else, or a run with another config (with a diff);
        a run without a checkpoint has nothing to lose and may begin again.
    """
    root = epath.Path(workdir)
    path = root / CONFIG_FILE
    if not path.exists():
        if root.exists() and any(root.iterdir()):
            raise UserError(
                f"{workdir} is not empty and holds no {CONFIG_FILE}: it is no run directory;"
                " choose another --workdir"
            )
        root.mkdir(parents=True, exist_ok=True)
        _write_json(path, config)
        return []
    old, new = _flatten(read_config(workdir)), _flatten(json.loads(json.dumps(config)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    lines = [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in changed]
    refused = [
        line
        for key, line in zip(changed, lines, strict=True)
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in RESUMABLE)
    ]
    folder = root / "checkpoints"
    started = folder.exists() and any(entry.name.isdigit() for entry in folder.iterdir())
    if refused and started:
        raise UserError(
            f"{workdir} holds a run with another config ({'; '.join(refused)});"
            " choose another --workdir, or the run's own config to continue it"
        )
    if changed:
        _write_json(path, config)
    return lines


def read_config(workdir: str) -> dict[str, Any]:
    """Returns the config of a run as plain JSON values.

    Raises:
      UserError: the directory is no run directory, or its config is damaged.
    """
    path = epath.Path(workdir) / CONFIG_FILE
    if not path.exists():
        raise UserError(f"{workdir} is no run directory: it has no {CONFIG_FILE}")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(config, dict) or "train" not in config:
        raise UserError(f"{workdir} is no run directory: its {CONFIG_FILE} is not a run's")
    return config


def _write_json(path: epath.Path, value: dict[str, Any]) -> None:
    temporary = path.parent / (path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
