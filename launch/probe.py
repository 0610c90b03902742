"""Says how good frozen features are: a linear probe, nearest neighbours, and files of embeddings.

    python -m launch.probe --workdir=runs/digits
    python -m launch.probe --model=maxvit_tiny --weights=maxvit_tiny_tf_224.safetensors \\
        --config.data.root=photos --output=reports/probe

Features are what the network's classifier gets, of the training and of the evaluation images, both
prepared as for evaluation. A run has its data and prepares them its way. Weights come with any data
of a classification job: a folder with one folder of images per class (`--config.data.root`, see
`configs/maxvit_folder.py`), or a tfds data set (`--config.data.name`). Images are prepared as the
weights say. A run of another job is given as weights too: its backbone is probed.

The report is a folder: `probe.json`, and the embeddings with names and labels (docs/explain.md).
Until it is complete it is hidden (`.probe.unfinished`). That is what an interruption leaves, and
the same command goes on with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from common.config import require
from common.evaluation_settings import evaluation_settings
from common.report import write_json
from common.task import Variables
from common.train.checkpoint import restore_variables
from common.train.labels import match_labels
from common.train.run_directory import read_labels
from common.train.sections import parse_trainer_sections
from common.train.sharding import make_mesh
from common.unfinished_report import unfinished_report
from launch.evaluated_config import config_of_run, default_config, is_named
from launch.main import compilation_cache, load_config, overrides, run_main
from launch.tasks import model_and_weights, task_of
from maxvit_jax.embeddings import FORMATS, Embeddings, write_embeddings
from maxvit_jax.probe import linear_probe, neighbour_accuracy
from maxvit_jax.tasks.embedding import EmbeddingTask

_CONFIG = config_flags.DEFINE_config_file("config", None, "Labelled images for weights.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run of a classifier to probe.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Of the run.")
_MODEL = flags.DEFINE_string("model", None, "Model name.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_OUTPUT = flags.DEFINE_string("output", None, "Report folder; <workdir>/report/<step> for runs.")
_NEIGHBOURS = flags.DEFINE_integer("neighbours", 20, "That vote.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("embeddings", "npz", [*FORMATS, "none"], "Files of embeddings.")


def main(argv: list[str]) -> None:
    """Probes what the flags say."""
    del argv
    compilation_cache()
    given = bool(_WEIGHTS.value or (_MODEL.value and not _WORKDIR.value))
    require(bool(_WORKDIR.value) != given, "give either --workdir, or --model and --weights")
    probed = _of_run(_WORKDIR.value) if _WORKDIR.value else _of_weights()
    mesh = make_mesh(parse_trainer_sections(probed.config.to_dict())["mesh"])
    datasets = probed.task.eval_data()
    settings = evaluation_settings(probed.task, probed.variables, datasets)
    with unfinished_report(probed.folder, settings) as unfinished:
        found = probed.task.embeddings(probed.variables, mesh, datasets, unfinished.kept)
        said = _write(unfinished.folder, probed, found)
    print("\n".join(said))
    print(f"the report is in {unfinished.folder}")


def _write(folder: epath.Path, probed: "_Probed", found: Mapping[str, Embeddings]) -> list[str]:
    """Writes what the features of both sets say; returns what to print."""
    linear = linear_probe(found["train"], found["eval"])
    k, data = _NEIGHBOURS.value, probed.config.data
    nearest = neighbour_accuracy(found["train"], found["eval"], k)
    report = {
        "weights": probed.weights,
        "data": {key: data[key] for key in ("source", "root", "name", "train_split", "eval_split")},
        "images": {part: len(embeddings.labels) for part, embeddings in found.items()},
        "dimensions": found["train"].vectors.shape[1],
        "linear": linear._asdict(),
        "neighbours": {"accuracy": nearest, "k": k},
    }
    if _FORMAT.value != "none":
        for part, embeddings in found.items():
            path = Path(folder) / f"{part}.{_FORMAT.value}"
            write_embeddings(path, embeddings, probed.task.class_names, _FORMAT.value)
    write_json(folder / "probe.json", report)
    badly = "the linear probe did not converge: a smaller C, or fewer images, may do better"
    return [
        f"{report['images']['train']:,} training and {report['images']['eval']:,} other images",
        f"linear probe: {linear.accuracy:.2%} (C={linear.c:g}, chosen on held-out training images)",
        *([] if linear.converged else [badly]),
        f"{k} nearest neighbours: {nearest:.2%}",
    ]


class _Probed(NamedTuple):
    """What is probed, on what, and where the report goes."""

    task: EmbeddingTask
    variables: Variables
    config: ConfigDict
    weights: str
    folder: epath.Path


def _of_run(workdir: str) -> _Probed:
    require(_MODEL.value is None, "--model does not apply: a run has its model")
    config = config_of_run(workdir, overrides(_CONFIG))
    kind = task_of(config).kind
    other = f"{workdir} is a run of {kind}: give --model=<its backbone> --weights={workdir}"
    require(kind == EmbeddingTask.kind, other)
    task = EmbeddingTask(config.to_dict())
    match_labels(task, workdir, read_labels(workdir))
    step, variables = restore_variables(workdir, best=_CHECKPOINT.value == "best")
    folder = epath.Path(_OUTPUT.value or epath.Path(workdir) / "report" / f"step_{step}" / "probe")
    return _Probed(task, variables, config, f"{workdir}, step {step}", folder)


def _of_weights() -> _Probed:
    require(not _CHECKPOINT.present, "--checkpoint does not apply: it is of runs")
    require(bool(_OUTPUT.value), "--weights needs --output, the folder for the report")
    name, path = model_and_weights(_MODEL.value, _WEIGHTS.value)
    config = load_config(_CONFIG)
    asked = overrides(_CONFIG)
    if "data.root" in asked and "data.source" not in asked and not is_named():
        config.data.source = "folder"
    task, variables = EmbeddingTask.of_weights(name, path, config, None if is_named() else asked)
    return _Probed(task, variables, config, path, epath.Path(_OUTPUT.value))


if __name__ == "__main__":
    run_main(main, default_config=default_config())
