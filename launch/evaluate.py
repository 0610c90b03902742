"""Evaluates a run or a file of weights, and writes a report.

    python -m launch.evaluate --workdir=runs/digits
    python -m launch.evaluate --model=maxvit_tiny --weights=maxvit_tiny_tf_224.safetensors \\
        --output=reports/tiny
    python -m launch.evaluate --model=maxvit_tiny_tf_384.in1k --output=reports/tiny_384
    python -m launch.evaluate --model=maxim_s3 --weights=checkpoint.npz --protocol=gopro \\
        --input=GoPro/input --target=GoPro/target --output=reports/gopro

A run is evaluated on its own evaluation split, with its moving-average weights;
`--config.data.eval_split=...` and other fields override it. Its mesh does not matter: all devices
here split the batch, unless `--config.mesh...` says otherwise.

Classes are those of the run or the weights, as far as these name them: data that has the same in
another order is matched by name, other data is refused.

Classifiers given as weights are evaluated on ImageNet's validation split; `--config` names other
data. Images are prepared as the weights say (a run's, or what `launch.convert` stored), or else as
the model was published; `--config.data.image_size=384` and other fields override it. A config of
your own is taken as it is.

Restoration models are evaluated on whole images by `--protocol` (docs/restoration_evaluation.md).

Until a report is complete its folder is hidden (`.eval.unfinished` beside where `eval` will be).
That is what an interruption leaves, and the same command goes on with it (docs/reliability.md).

Status 1 means that examples were left out because they can't be read or measured.
"""

import sys

from absl import flags
from etils import epath
from ml_collections import config_flags

from common.config import require
from common.news import announced
from common.report import report_folder
from common.task import Report
from common.train.checkpoint import restore_variables
from common.train.labels import match_labels, unknown_to_run
from common.train.run_directory import read_labels
from common.train.sections import parse_trainer_sections
from common.train.sharding import make_mesh
from launch.evaluated_config import config_of_run, default_config, is_named
from launch.main import compilation_cache, load_config, overrides, run_main
from launch.options import JobFlags
from launch.tasks import make_task, model_and_weights, task_of_weights

_CONFIG = config_flags.DEFINE_config_file("config", None, "Data to evaluate weights on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to evaluate.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Of the run.")
_MODEL = flags.DEFINE_string("model", None, "Model name.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_OUTPUT = flags.DEFINE_string("output", None, "Report directory; <workdir>/report/<step> for runs.")
_SOURCE = JobFlags("source_options")
_REPORT = JobFlags("report_options")


def main(argv: list[str]) -> None:
    """Evaluates what the flags say."""
    del argv
    compilation_cache()
    given = bool(_WEIGHTS.value or (_MODEL.value and not _WORKDIR.value))
    require(bool(_WORKDIR.value) != given, "give either --workdir, or --model and --weights")
    report = _evaluate_run(_WORKDIR.value) if _WORKDIR.value else _evaluate_weights()
    print("\n".join(report.lines))
    for line in report.left_out:
        print(f"left out: {line}", file=sys.stderr)
    if report.left_out:
        sys.exit(1)


def _evaluate_run(workdir: str) -> Report:
    require(_MODEL.value is None, "--model does not apply: a run has its model")
    _SOURCE.require_unset("a run has its data; --config.data... moves it")
    config = config_of_run(workdir, overrides(_CONFIG))
    mesh = make_mesh(parse_trainer_sections(config.to_dict())["mesh"])
    with announced("looking at the data", "looked at it"):
        task = make_task(config.to_dict())
    stored = read_labels(workdir)
    match_labels(task, workdir, stored)
    for line in unknown_to_run(workdir, stored, task.labels()):
        print(line)
    options = _REPORT.options(type(task))
    step, variables = restore_variables(workdir, best=_CHECKPOINT.value == "best")
    print(f"{workdir}, step {step}")
    folder = report_folder(workdir, step, task.report_name(options))
    return task.report(variables, epath.Path(_OUTPUT.value or folder), mesh, options)


def _evaluate_weights() -> Report:
    require(not _CHECKPOINT.present, "--checkpoint does not apply: it is of runs")
    require(bool(_OUTPUT.value), "--weights needs --output, the directory for the report")
    name, weights = model_and_weights(_MODEL.value, _WEIGHTS.value)
    job = task_of_weights(name, weights)
    how, where = _REPORT.options(job), _SOURCE.options(job)
    config = load_config(_CONFIG)
    asked = overrides(_CONFIG)
    asked = None if is_named() else asked
    mesh = make_mesh(parse_trainer_sections(config.to_dict())["mesh"])
    task, variables = job.of_weights(name, weights, config, asked, (where, how))
    return task.report(variables, epath.Path(_OUTPUT.value), mesh, how)


if __name__ == "__main__":
    run_main(main, default_config=default_config())
