"""What an evaluation leaves on disk, whatever the job; nothing is overwritten."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from common.csv_text import csv_text
from common.news import announced
from common.pictures import encoded, save_png
from common.progress import ProgressReport
from common.report_page import image, page, table
from common.task import Report, Task, Variables
from common.train import sharding
from common.train.evaluate import EvalLoop
from common.unfinished import write_bytes

PAGE = "report.html"


def evaluate_and_write(
    task: Task, variables: Variables, folder: epath.PathLike, mesh: Mesh
) -> Report:
    """Evaluates a task on its evaluation sets, each into a folder of its name.

    A job that writes no page of its own gets one of its numbers and pictures.

    Args:
      task: gives data, program, evaluators and what it adds by `write_report`.
      variables: of its model.
      folder: holds the reports.
      mesh: batches are split over it.
    """
    variables = jax.device_put(variables, sharding.tree_shardings(variables, mesh))
    loop, lines = EvalLoop(task, mesh, variables), []
    for name, dataset in task.eval_data().items():
        evaluators = task.evaluators()
        with ProgressReport(len(dataset.source), unit="image") as progress:
            metrics, pictures = loop.run(variables, dataset, evaluators, progress.advance)
        place = fresh_folder(epath.Path(folder) / name)
        write_json(place / "metrics.json", metrics)
        for key, picture in pictures.items():
            save_png(place / f"{key}.png", picture)
        lines += result_lines({f"{name}/{key}": value for key, value in metrics.items()})
        with announced("writing the report", "written"):
            lines += task.write_report(place, metrics, evaluators)
            if not (place / PAGE).exists():
                write_bytes(place / PAGE, _page(task.kind, metrics, pictures).encode())
        lines.append(f"the report is in {place}")
    return Report(lines)


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
    candidate, number = epath.Path(path), 1
    while candidate.exists():
        number += 1
        candidate = epath.Path(path).parent / f"{epath.Path(path).name}-{number}"
    candidate.mkdir(parents=True)
    return candidate


def write_json(path: epath.Path, value: Mapping[str, Any]) -> None:
    """Writes JSON; null stands for NaN and infinities, for which it has no number."""
    write_bytes(path, json.dumps(_finite(value), indent=2).encode() + b"\n")


def write_rows(path: epath.Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file; names of files may hold bytes that are no text."""
    write_bytes(path, csv_text([head, *rows]).encode(errors="surrogateescape"))


def _page(kind: str, metrics: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> str:
    title = kind.capitalize()
    rows = [(name, f"{value:.4f}") for name, value in metrics.items()]
    parts = [f"<h1>{escape(title)}</h1>", table(("", ""), rows)]
    for name, picture in pictures.items():
        words = name.replace("_", " ").capitalize()
        parts += [f"<h2>{escape(words)}</h2>", image(encoded(picture), words)]
    return page(title, parts)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
