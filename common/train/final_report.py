"""The report that a run leaves when it is over: that of `launch.evaluate --checkpoint=best`."""

from jax.sharding import Mesh

from common.report import report_folder
from common.task import Task
from common.train.checkpoint import restore_variables
from common.unfinished_report import has_report


def write_final_report(task: Task, workdir: str, mesh: Mesh) -> list[str]:
    """Evaluates the best checkpoint, unless its report is there.

    Args:
      task: of the run.
      workdir: the run directory.
      mesh: batches are split over it.

    Returns:
      What to print.
    """
    step, variables = restore_variables(workdir, best=True)
    options = task.report_options()
    folder = report_folder(workdir, step, task.report_name(options))
    if has_report(folder):
        return []
    best = f"the best checkpoint, of step {step}:"
    return [best, *task.report(variables, folder, mesh, options).lines]
