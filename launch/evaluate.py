"""Evaluates a run or a file of weights, and writes a report.

    python -m launch.evaluate --workdir=runs/digits
    python -m launch.evaluate --model=maxvit_tiny --weights=maxvit_tiny_tf_224.safetensors \\
        --output=reports/tiny
    python -m launch.evaluate --model=maxim_s3 --weights=checkpoint.npz --protocol=gopro \\
        --input=GoPro/input --target=GoPro/target --output=reports/gopro

A run is evaluated on its own evaluation split, with its moving-average weights;
`--config.data.eval_split=...` and other fields override it. Its mesh does not matter: all devices
here split the batch, unless `--config.mesh...` says otherwise.

Classifiers given as weights are evaluated on ImageNet's validation split; `--config` names other
data. Images are prepared as the weights say (a run's, or what `launch.convert` stored), or else as
the model was published; `--config.data.image_size=384` and other fields override it. A config of
your own is taken as it is.

Restoration models are evaluated on whole images by `--protocol` (docs/restoration_evaluation.md).
Status 1 means that examples were left out because they can't be read or measured.
"""

import contextlib
import dataclasses
import itertools
import sys
from pathlib import Path

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

import configs
import launch
from common.config import require
from common.errors import UserError
from common.model_fields import refuse_code
from common.report import report_folder
from common.task import Report
from common.train.checkpoint import restore_variables
from common.train.run_directory import read_labels, require_same_labels
from common.train.sections import parse_trainer_sections
from common.train.sharding import MeshConfig, make_mesh
from launch import run_config
from launch.main import compilation_cache, load_config, run_main
from launch.options import JobFlags
from launch.tasks import make_task, task_of_model, task_of_weights

_CONFIG = config_flags.DEFINE_config_file("config", None, "Data to evaluate weights on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to evaluate.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Of the run.")
_MODEL = flags.DEFINE_string("model", None, "Model name.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model, in any known format.")
_OUTPUT = flags.DEFINE_string("output", None, "Report directory; <workdir>/report/<step> for runs.")
_SOURCE = JobFlags("source_options")
_REPORT = JobFlags("report_options")


def main(argv: list[str]) -> None:
    """Evaluates what the flags say."""
    del argv
    compilation_cache()
    require(bool(_WORKDIR.value) != bool(_WEIGHTS.value), "give either --workdir or --weights")
    report = _evaluate_run(_WORKDIR.value) if _WORKDIR.value else _evaluate_weights()
    print("\n".join(report.lines))
    for line in report.left_out:
        print(f"left out: {line}", file=sys.stderr)
    if report.left_out:
        sys.exit(1)


def _evaluate_run(workdir: str) -> Report:
    require(_MODEL.value is None, "--model does not apply: a run has its model")
    _SOURCE.require_unset("a run has its data; --config.data... moves it")
    config = run_config.get_config(workdir)  # its own, whatever --config names
    asked = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
    config.update_from_flattened_dict(asked)
    given = {field.removeprefix("model.") for field in asked}
    refuse_code(workdir, config.model.to_dict(), given)
    for axis, size in dataclasses.asdict(MeshConfig()).items():
        if f"mesh.{axis}" not in asked:
            config.mesh[axis] = size
    if "data.eval_batch_size" not in asked:  # the last batch is padded: any size will do
        size, parts = config.data.eval_batch_size or config.data.batch_size, jax.device_count()
        config.data.eval_batch_size = -(-size // parts) * parts
    mesh = make_mesh(parse_trainer_sections(config.to_dict())["mesh"])
    task = make_task(config.to_dict())
    require_same_labels(workdir, read_labels(workdir), task.labels())
    options = _REPORT.options(type(task))
    step, variables = restore_variables(workdir, best=_CHECKPOINT.value == "best")
    print(f"{workdir}, step {step}")
    folder = report_folder(workdir, step, task.report_name(options))
    return task.report(variables, epath.Path(_OUTPUT.value or folder), mesh, options)


def _evaluate_weights() -> Report:
    require(not _CHECKPOINT.present, "--checkpoint does not apply: it is of runs")
    require(bool(_MODEL.value), "--weights needs --model")
    require(bool(_OUTPUT.value), "--weights needs --output, the directory for the report")
    job = task_of_weights(_MODEL.value, _WEIGHTS.value)
    how, where = _REPORT.options(job), _SOURCE.options(job)
    config = load_config(_CONFIG)
    asked = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
    asked = None if _is_given("--config") else asked
    mesh = make_mesh(parse_trainer_sections(config.to_dict())["mesh"])
    task, variables = job.of_weights(_MODEL.value, _WEIGHTS.value, config, asked, (where, how))
    return task.report(variables, epath.Path(_OUTPUT.value), mesh, how)


def _is_given(flag: str) -> bool:
    return any(arg.partition("=")[0] == flag for arg in sys.argv[1:])


def _default_config() -> str:
    """The config whose fields `--config...` may override: the run's, or that of the weights."""
    given = {}
    for arg, following in itertools.pairwise([*sys.argv, ""]):
        flag, equals, value = arg.partition("=")
        given[flag] = value if equals else following
    if "--workdir" in given and "--weights" not in given:
        return f"{Path(launch.__file__).with_name('run_config.py')}:{given['--workdir']}"
    recipe, name = "evaluate.py", given.get("--model", "")
    with contextlib.suppress(UserError):  # an unknown model is told later
        recipe = (task_of_model(name).weights_config or recipe).format(name=name)
    return str(Path(configs.__file__).with_name(recipe))


if __name__ == "__main__":
    run_main(main, default_config=_default_config())
