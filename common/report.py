"""Folders and files of reports, whatever the job; nothing is overwritten."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from common.csv_text import csv_text
from common.unfinished import write_bytes


def result_lines(metrics: Mapping[str, float]) -> list[str]:
    """Returns a line for each metric that is defined on the data; counts are whole numbers."""
    return [
        f"{name}: {value}" if isinstance(value, int) else f"{name}: {value:.4f}"
        for name, value in metrics.items()
        if not math.isnan(value)
    ]


def report_folder(workdir: epath.PathLike, step: int, name: str) -> epath.Path:
    """Returns where the report on a checkpoint of a run is, by `Task.report_name`."""
    return epath.Path(workdir) / "report" / f"step_{step}" / name


def fresh_folder(path: epath.PathLike) -> epath.Path:
    """Makes `path`, or `path-2` .. when there is an earlier report: none is overwritten."""
    folder = free_path(path)
    folder.mkdir(parents=True)
    return folder


def free_path(path: epath.PathLike) -> epath.Path:
    """Returns `path`, or the first of `path-2` .. that is not taken."""
    candidate, number = epath.Path(path), 1
    while candidate.exists():
        number += 1
        candidate = epath.Path(path).parent / f"{epath.Path(path).name}-{number}"
    return candidate


def write_json(path: epath.Path, value: Mapping[str, Any]) -> None:
    """Writes JSON; null stands for NaN and infinities, for which it has no number."""
    write_bytes(path, json.dumps(_finite(value), indent=2).encode() + b"\n")


def write_rows(path: epath.Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file; names of files may hold bytes that are no text."""
    write_bytes(path, csv_text([head, *rows]).encode(errors="surrogateescape"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
