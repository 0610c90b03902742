"""Evaluates a run or a file of weights, and writes a report.

    python -m launch.evaluate --workdir=runs/digits
    python -m launch.evaluate --model=maxvit_tiny --weights=maxvit_tiny_tf_224.safetensors \\
        --output=reports/tiny

A run is evaluated on its own evaluation split, with its moving-average weights. Weights are
evaluated on the data of `--config`, by default ImageNet's validation split with the official
preprocessing. `--config.data.eval_split=...` and other fields override either.
"""

import csv
import json
from pathlib import Path

import jax
from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

import configs
import maxvit_jax
from common.config import require
from common.pictures import confusion_picture
from common.train.checkpoint import restore_variables
from common.train.evaluate import EvalLoop
from common.train.progress import ProgressReport
from common.train.run_directory import read_config
from common.train.sharding import make_mesh, tree_shardings
from common.train.trainer import parse_trainer_sections
from common.train.writer import save_png
from launch.main import compilation_cache, load_config, run_main
from launch.tasks import make_task

_CONFIG = config_flags.DEFINE_config_file("config", None, "Data to evaluate weights on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to evaluate.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Of the run.")
_MODEL = flags.DEFINE_string("model", None, "Model name.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model, in any known format.")
_OUTPUT = flags.DEFINE_string("output", None, "Report directory; <workdir>/report/<step> for runs.")


def main(argv: list[str]) -> None:
    """Evaluates what the flags say."""
    del argv
    compilation_cache()
    require(bool(_WORKDIR.value) != bool(_WEIGHTS.value), "give either --workdir or --weights")
    if _WORKDIR.value:
        config = ConfigDict(read_config(_WORKDIR.value))
        config.update_from_flattened_dict(
            config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
        )
        task = make_task(config)
        step, variables = restore_variables(_WORKDIR.value, best=_CHECKPOINT.value == "best")
        print(f"{_WORKDIR.value}, step {step}")
        output = _OUTPUT.value or f"{_WORKDIR.value}/report/step_{step}"
    else:
        require(bool(_MODEL.value), "--weights needs --model")
        require(bool(_OUTPUT.value), "--weights needs --output, the directory for the report")
        config = load_config(_CONFIG)
        config.model.name = _MODEL.value
        task = make_task(config)
        _, variables = maxvit_jax.load_pretrained(task.model, _WEIGHTS.value)
        output = _OUTPUT.value

    mesh = make_mesh(parse_trainer_sections(config.to_dict())["mesh"])
    variables = jax.device_put(variables, tree_shardings(variables, mesh))
    loop = EvalLoop(task, mesh, variables)
    for name, dataset in task.eval_data().items():
        evaluator = task.evaluator()
        with ProgressReport(len(dataset.source), unit="image") as progress:
            metrics, pictures = loop.run(variables, dataset, evaluator, progress.advance)
        for key, value in metrics.items():
            print(f"{name}/{key}: {value:.4f}")
        folder = _fresh_folder(epath.Path(output) / name)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        names = task.class_names
        pictures["confusion"] = confusion_picture(evaluator.confusion, names)
        for key, picture in pictures.items():
            save_png(folder / f"{key}.png", picture)
        with (folder / "per_class.csv").open("w") as file:
            rows = csv.writer(file)
            rows.writerow(["class", "examples", "accuracy"])
            support = evaluator.confusion.sum(axis=1)
            rows.writerows(zip(names, support, evaluator.per_class_accuracy(), strict=True))
        print(f"the report is in {folder}")


def _fresh_folder(path: epath.Path) -> epath.Path:
    """Makes `path`, or `path-2` .. when there is an earlier report: none is overwritten."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.parent / f"{path.name}-{number}"
    candidate.mkdir(parents=True)
    return candidate


if __name__ == "__main__":
    run_main(main, default_config=str(Path(configs.__file__).with_name("evaluate.py")))
