"""The run directory: one run's config, and the rule on when a directory may be continued."""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from common.errors import UserError
from common.json_files import read_json
from common.train.labels import require_same_labels, unknown_to_run
from common.train.manifest import find_damage

CHECKPOINTS = "checkpoints"
CONFIG_FILE = "config.json"
DAMAGED = "damaged"  # what differs from what was written, out of the way
LABELS_FILE = "labels.json"  # what the numbers in outputs mean
LOCK_FILE = ".lock"
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}

# These may change when a run is continued: they decide where, how fast and how long, not what.
# A task adds its own.
RESUMABLE = (
    "mesh",
    "train.num_steps",
    "train.num_epochs",
    "train.log_every",
    "train.not_finite",
    "train.sample_images",
    "train.profile",
    "train.final_report",
    "eval.every_steps",
    "eval.patience",
    "checkpoint",
)


@contextlib.contextmanager
def open_run(
    workdir: str,
    config: dict[str, Any],
    defaults: Mapping[str, Any] | None = None,
    resumable: Sequence[str] = (),
    labels: Mapping[str, Any] | None = None,
) -> Iterator[list[str]]:
    """Creates a run directory, or checks that the one that is there belongs to this config.

    It is locked while the block lasts, except on bucket paths, which have no locks.

    Args:
      workdir: local path or bucket path.
      config: the whole config as plain JSON values.
      defaults: values by path, such as `"optimizer.clip_norm"`, that may be missing in a config: a
        field added since an older run does by default what was done before.
      resumable: fields or sections that may differ, beside `RESUMABLE`.
      labels: what the numbers in outputs mean, such as `{"class_names": [...]}`: kept with the run,
        which goes on with the same alone (`common.train.labels.match_order` makes them so).

    Yields:
      Lines on what changed within bounds, to be printed.

    Raises:
      UserError: the directory holds something else, or a run with another config (with a diff), or
        another process is at it; a run without a checkpoint has nothing to lose and may begin
        again. Also a disk that is full or read-only, now or in the block. A new directory that
        has nothing but its config when a user's mistake ends the block is removed.
    """
    root = epath.Path(workdir)
    known, allowed, is_new = defaults or {}, (*RESUMABLE, *resumable), not root.exists()
    _changes(root, config, known, allowed)  # refuses before anything is touched
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(workdir):
            lines = _changes(root, config, known, allowed)
            if lines or not (root / CONFIG_FILE).exists():
                _write_json(root / CONFIG_FILE, config)
            doubts = _keep_labels(root, labels or {})
            try:
                yield lines + doubts
            except UserError:
                if is_new and _is_bare(root):
                    root.rmtree()
                raise
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        kept = "its checkpoints are kept, and " if checkpoint_steps(root) else ""
        raise UserError(
            f"can't write to {root}: {error.strerror}; {kept}when that is mended, the same command"
            f" {'goes on' if kept else 'begins'}"
        ) from error


def read_labels(workdir: str) -> dict[str, Any]:
    """Returns what a run keeps of what the numbers in its outputs mean; empty if nothing.

    Raises:
      UserError: the file is damaged.
    """
    path = epath.Path(workdir) / LABELS_FILE
    labels = read_json(path) if path.exists() else {}
    if not isinstance(labels, dict):
        raise UserError(f"{path} is damaged: it holds no object")
    return labels


def _keep_labels(root: epath.Path, labels: Mapping[str, Any]) -> list[str]:
    """Writes what numbers mean, or makes sure that they mean what they did; lines on doubts."""
    if not checkpoint_steps(root):
        if labels:
            _write_json(root / LABELS_FILE, dict(labels))
        return []
    old = read_labels(str(root))
    require_same_labels(str(root), old, labels)
    if not old and labels:  # it was trained with another rule than today's
        kept = {name: value for name, value in labels.items() if name != "held_out"}
        _write_json(root / LABELS_FILE, kept)
    return unknown_to_run(str(root), old, labels)


def checkpoint_steps(workdir: epath.PathLike) -> list[int]:
    """Returns the steps of a run's complete checkpoints, in order; other names are not its own."""
    folder = epath.Path(workdir) / CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))


def _is_bare(root: epath.Path) -> bool:
    """Whether nothing of a run was done yet."""
    names = {path.name for path in root.iterdir()}
    begun = {CONFIG_FILE, LABELS_FILE, LOCK_FILE, CHECKPOINTS}
    return names <= begun and not any((root / CHECKPOINTS).glob("*"))


def place_aside(workdir: epath.PathLike, name: str) -> epath.Path:
    """Returns a new path for something damaged, in a folder that is there."""
    folder = epath.Path(workdir) / DAMAGED
    folder.mkdir(exist_ok=True)
    return folder / f"{name}_{time.time_ns()}"


def _changes(
    root: epath.Path, config: dict[str, Any], defaults: Mapping[str, Any], allowed: Sequence[str]
) -> list[str]:
    """Lines on the fields that differ from the directory's own; refuses those that must not."""
    if not (root / CONFIG_FILE).exists() and not checkpoint_steps(root):
        if root.exists() and any(path.name != LOCK_FILE for path in root.iterdir()):
            raise UserError(
                f"{root} is not empty and holds no {CONFIG_FILE}: it is no run directory;"
                " choose another --workdir"
            )
        return []
    configs = _flatten(read_config(str(root))), _flatten(config), defaults
    old, new, defaults = (json.loads(json.dumps(values)) for values in configs)

    def differs(key: str) -> bool:
        if key in old and key in new:
            return old[key] != new[key]
        return (old | new)[key] not in (None, defaults.get(key))

    def shown(values: dict[str, Any], key: str) -> str:
        known = defaults | values
        return repr(known[key]) if key in known else "absent"

    changed = sorted(filter(differs, old.keys() | new.keys()))
    lines = [f"{key}: {shown(old, key)} -> {shown(new, key)}" for key in changed]
    refused = {
        key: line
        for key, line in zip(changed, lines, strict=True)
        if not any(key == path or key.startswith(f"{path}.") for path in allowed)
    }
    if refused and checkpoint_steps(root):
        older = f"; fields that the run is too old to have can be added to {root}/{CONFIG_FILE}"
        raise UserError(
            f"{root} holds a run with another config ({'; '.join(refused.values())});"
            " choose another --workdir, or the run's own config to continue it"
            f"{'' if refused.keys() <= old.keys() else older}"
        )
    return lines


@contextlib.contextmanager
def _locked(workdir: str) -> Iterator[None]:
    """Held until the block or the process ends, however it ends."""
    if "://" in workdir:
        yield
        return
    with (Path(workdir) / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{workdir} is in use by another trainer ({file.read() or 'unknown'}):"
                " stop that one, or choose another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def read_config(workdir: str) -> dict[str, Any]:
    """Returns the config of a run as plain JSON values.

    Raises:
      UserError: the directory is no run directory, or its config is damaged; with the name of a
        file that holds the same, if a checkpoint has one.
    """
    path = epath.Path(workdir) / CONFIG_FILE
    if not path.exists():
        cure = _cure(workdir)
        no_run = f"{workdir} is no run directory: it has no {CONFIG_FILE}"
        raise UserError(f"{path} is missing{cure}" if cure else no_run)
    try:
        config = read_json(path)
    except UserError as error:
        raise UserError(f"{error}{_cure(workdir)}") from None
    if not isinstance(config, dict) or "train" not in config:
        raise UserError(
            f"{workdir} is no run directory: its {CONFIG_FILE} is not a run's{_cure(workdir)}"
        )
    return config


def read_model_name(workdir: str) -> str:
    """Returns the registered name of a run's model; raises as `read_config` does."""
    model = read_config(workdir).get("model")
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        path = epath.Path(workdir) / CONFIG_FILE
        raise UserError(f"{path} names no model{_cure(workdir)}")
    return model["name"]


def _cure(workdir: str) -> str:
    """Where a lost config can be had from; empty if nowhere."""
    for step in reversed(checkpoint_steps(workdir)):
        folder = epath.Path(workdir) / CHECKPOINTS / str(step)
        stored = "config/metadata"  # written by Orbax
        if find_damage(folder, stored) is None:
            return f"; {folder / stored} holds the same: copy it to {workdir}/{CONFIG_FILE}"
    return ""


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
