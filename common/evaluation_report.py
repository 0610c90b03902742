"""The evaluation of a task on all its evaluation sets, with a report on each."""

import contextlib
from collections.abc import Mapping
from html import escape

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from common.evaluation_settings import evaluation_settings
from common.news import announced
from common.pictures import encoded, save_png
from common.progress import ProgressReport
from common.report import result_lines, write_json
from common.report_page import image, page, table
from common.task import Report, Task, Variables
from common.train import sharding
from common.train.evaluate import EvalLoop
from common.unfinished import write_bytes
from common.unfinished_report import unfinished_report

PAGE = "report.html"


def evaluate_and_write(
    task: Task, variables: Variables, folder: epath.PathLike, mesh: Mesh
) -> Report:
    """Evaluates a task on its evaluation sets, each into a folder of its name.

    A job that writes no page of its own gets one of its numbers and pictures. After an interruption
    the same evaluation goes on with the batch that was under way.

    Args:
      task: gives data, program, evaluators and what it adds by `write_report`.
      variables: of its model.
      folder: holds the reports.
      mesh: batches are split over it.
    """
    sets, reports = task.eval_data(), []
    settings = evaluation_settings(task, variables, sets)
    variables = jax.device_put(variables, sharding.tree_shardings(variables, mesh))
    loop = EvalLoop(task, mesh, variables)
    with contextlib.ExitStack() as unfinished:  # all sets: a complete one would be done again
        for name, dataset in sets.items():
            report = unfinished.enter_context(
                unfinished_report(epath.Path(folder) / name, settings)
            )
            evaluators = task.evaluators()
            with ProgressReport(len(dataset.source), unit="image") as progress:
                metrics, pictures = loop.run(
                    variables, dataset, evaluators, progress.advance, kept=report.kept()
                )
            write_json(report.folder / "metrics.json", metrics)
            for key, picture in pictures.items():
                save_png(report.folder / f"{key}.png", picture)
            lines = result_lines({f"{name}/{key}": value for key, value in metrics.items()})
            with announced("writing the report", "written"):
                lines += task.write_report(report.folder, metrics, evaluators)
                if not (report.folder / PAGE).exists():
                    content = _page(task.kind, metrics, pictures).encode()
                    write_bytes(report.folder / PAGE, content)
            reports.append((report, lines))
    return Report(
        [
            line
            for report, lines in reports
            for line in (*lines, f"the report is in {report.folder}")
        ]
    )


def _page(kind: str, metrics: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> str:
    title = kind.capitalize()
    rows = [(name, f"{value:.4f}") for name, value in metrics.items()]
    parts = [f"<h1>{escape(title)}</h1>", table(("", ""), rows)]
    for name, picture in pictures.items():
        words = name.replace("_", " ").capitalize()
        parts += [f"<h2>{escape(words)}</h2>", image(encoded(picture), words)]
    return page(title, parts)
