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
Status 1 means that pairs were left out because they can't be read or differ in size.
"""

import contextlib
import dataclasses
import itertools
import sys
from pathlib import Path

import jax
from absl import flags, logging
from etils import epath
from flax import linen as nn
from ml_collections import ConfigDict, config_flags

import configs
import maxim_jax
import maxvit_jax
from common.config import require
from common.data.pair_layouts import LAYOUTS
from common.data.pair_transform import EvalPair
from common.data.pairs import ImageFiles, PairSource, make_pair_source
from common.errors import UserError, did_you_mean
from common.task import Dataset, Variables
from common.train.checkpoint import restore_variables
from common.train.evaluate import EvalLoop
from common.train.progress import ProgressReport
from common.train.run_directory import read_config, read_model_name
from common.train.sharding import MeshConfig, make_mesh, tree_shardings
from common.train.trainer import parse_trainer_sections
from launch.main import compilation_cache, load_config, run_main
from launch.tasks import make_task
from maxim_jax.checkpoints import CHECKPOINTS
from maxim_jax.evaluation import evaluate_pairs
from maxim_jax.inference import Restorer
from maxim_jax.protocols import PROTOCOLS, Protocol, get_protocol
from maxim_jax.tasks.restoration import RestorationTask
from maxvit_jax.data_defaults import data_of_weights, published_fields
from maxvit_jax.tasks.classification import ClassificationTask
from maxvit_jax.tasks.report import write_report

_CONFIG = config_flags.DEFINE_config_file("config", None, "Data to evaluate a classifier on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to evaluate.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Of the run.")
_MODEL = flags.DEFINE_string("model", None, "Model name.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model, in any known format.")
_OUTPUT = flags.DEFINE_string("output", None, "Report directory; <workdir>/report/<step> for runs.")
_PROTOCOL = flags.DEFINE_string(
    "protocol",
    None,
    f"How to measure restoration: {', '.join(PROTOCOLS)}. By default as a run's data set is, or"
    " 'rgb'.",
)
_ROOT = flags.DEFINE_string("root", None, "Folder of a restoration data set with a test split.")
_INPUT = flags.DEFINE_string("input", None, "Folder of degraded images, instead of --root.")
_TARGET = flags.DEFINE_string("target", None, "Folder of their targets.")
_NAMING = flags.DEFINE_string(
    "naming",
    None,
    f"How pairs are named: {', '.join(LAYOUTS)}. By default 'equal', or with --root as the"
    " protocol's data set.",
)
_TILE = flags.DEFINE_integer("tile", None, "Restore in tiles of this side instead of whole.")
_OVERLAP = flags.DEFINE_integer("overlap", 64, "Pixels that neighbouring tiles share.")
_ENSEMBLE = flags.DEFINE_integer("ensemble", 1, "Views whose mean is taken: 1, 4 or 8.")


def main(argv: list[str]) -> None:
    """Evaluates what the flags say."""
    del argv
    compilation_cache()
    require(bool(_WORKDIR.value) != bool(_WEIGHTS.value), "give either --workdir or --weights")
    if _WORKDIR.value:
        _evaluate_run(_WORKDIR.value)
        return
    require(not _CHECKPOINT.present, "--checkpoint does not apply: it is of runs")
    require(bool(_MODEL.value), "--weights needs --model")
    require(bool(_OUTPUT.value), "--weights needs --output, the directory for the report")
    if _MODEL.value in maxim_jax.list_models():
        protocol = get_protocol(_PROTOCOL.value or "rgb")
        source = _pairs(protocol)
        model, variables = maxim_jax.load_pretrained(_MODEL.value, _WEIGHTS.value)
        dataset = Dataset(source, EvalPair(size=None))
        _evaluate_restoration(model, variables, dataset, protocol, _OUTPUT.value)
        return
    if _MODEL.value not in maxvit_jax.list_models():
        known = [*maxvit_jax.list_models(), *maxim_jax.list_models()]
        raise UserError(f"unknown model {_MODEL.value!r}: {did_you_mean(_MODEL.value, known)}")
    _require_classifier_flags()
    _evaluate_weights(_MODEL.value, _WEIGHTS.value, _OUTPUT.value)


def _evaluate_weights(name: str, weights: str, output: str) -> None:
    config = load_config(_CONFIG)
    held = config.model.name
    require(held == name, f"--config is for {held}, not {name}: add --config.model.name={name}")
    asked = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
    size = asked.get("data.image_size")
    given = {n: v for n, v in dict(config.model).items() if v is not None}
    if _follows_weights():  # the config's fields of the model are defaults: the weights know better
        given = {n: v for n, v in given.items() if f"model.{n}" in asked}
        given = published_fields(name, size) | given
    skipped = ("name", "num_classes")  # a fresh classifier is not worth evaluating
    fields = {n: v for n, v in given.items() if n not in skipped}
    model, variables = maxvit_jax.load_pretrained(name, weights, **fields)
    classes = given.get("num_classes", model.num_classes)
    require(classes == model.num_classes, f"{weights} has {model.num_classes} classes: {classes=}")
    if _follows_weights():
        data, _ = data_of_weights(name, weights, size)
        for field, value in dataclasses.asdict(data).items():
            if f"data.{field}" not in asked:
                config.data[field] = value
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    section = {n: v for n, v in fields.items() if n != "parent"} | {"name": name}
    task = make_task({**config.to_dict(), "model": section})
    _evaluate_classifier(config, task, variables, output)


def _evaluate_run(workdir: str) -> None:
    config = ConfigDict(read_config(workdir))
    config.mesh = dataclasses.asdict(MeshConfig())
    asked = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
    config.update_from_flattened_dict(asked)
    parse_trainer_sections(config.to_dict())  # names what is missing or unknown
    task = make_task(config)
    restoration = isinstance(task, RestorationTask)
    _require_unset("a run has its model", _MODEL)
    if restoration:
        why = "a run has its data; --config.data.root (or input_root and target_root) moves it"
        _require_unset(why, _ROOT, _INPUT, _TARGET, _NAMING)
    else:
        _require_classifier_flags()
    step, variables = restore_variables(workdir, best=_CHECKPOINT.value == "best")
    print(f"{workdir}, step {step}")
    output = _OUTPUT.value or f"{workdir}/report/step_{step}"
    if not restoration:
        if "data.eval_batch_size" not in asked:  # the last batch is padded: any size will do
            size, parts = task.data.eval_batch_size or task.data.batch_size, jax.device_count()
            task.data = dataclasses.replace(task.data, eval_batch_size=-(-size // parts) * parts)
        _evaluate_classifier(config, task, variables, output)
        return
    layout = task.data.layout.removesuffix("_gamma") if task.data.source == "pairs" else ""
    protocol = get_protocol(_PROTOCOL.value or (layout if layout in PROTOCOLS else "rgb"))
    dataset = task.whole_eval_data()
    output = _OUTPUT.value or f"{output}/{protocol.name}"
    _evaluate_restoration(task.model, variables, dataset, protocol, output)


def _evaluate_restoration(
    model: nn.Module, variables: Variables, dataset: Dataset, protocol: Protocol, output: str
) -> None:
    restorer = Restorer(
        model, variables, tile=_TILE.value, overlap=_OVERLAP.value, ensemble=_ENSEMBLE.value
    )
    print("; ".join(f"{key}: {text}" for key, text in protocol.describe().items() if text))
    folder = _fresh_folder(epath.Path(output))
    with ProgressReport(len(dataset.source), unit="image") as progress:
        try:
            summary = evaluate_pairs(restorer, dataset, protocol, folder, progress=progress.advance)
        except UserError:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
    for key in ("psnr", "ssim", "psnr_input", "ssim_input"):
        print(f"{key}: {summary['mean'][key]:.4f} (standard deviation {summary['std'][key]:.4f})")
    print(f"{summary['images']:,} images, averaged {summary['averaged']}")
    for row in CHECKPOINTS:
        if (row.data_set, row.model) == (protocol.name, _MODEL.value):
            print(f"published for {row.model}: PSNR {row.psnr:.2f}, SSIM {row.ssim:.3f}")
    print(f"the report is in {folder}")
    if skipped := summary["skipped"]:
        for row in skipped:
            print(f"left out: {row['name']}: {row['reason']}", file=sys.stderr)
        sys.exit(1)


def _evaluate_classifier(
    config: ConfigDict, task: ClassificationTask, variables: Variables, output: str
) -> None:
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
        write_report(folder, task.class_names, metrics, evaluator, pictures)
        print(f"the report is in {folder}")


def _pairs(protocol: Protocol) -> PairSource:
    """The pairs that the flags name; what is wrong with them is said, and no obstacle."""
    naming = _NAMING.value
    if naming is None:
        naming = protocol.name if _ROOT.value and protocol.name in LAYOUTS else "equal"
    source = make_pair_source(
        "pairs",
        layout=naming,
        root=_ROOT.value or "",
        input_root=_INPUT.value or "",
        target_root=_TARGET.value or "",
        split="test",
        check=False,
    )
    if isinstance(source, ImageFiles):
        for kind, files in source.problems().items():
            more = ", ..." if len(files) > 3 else ""
            logging.warning("%d of kind %r: %s%s", len(files), kind, ", ".join(files[:3]), more)
    return source


def _require_classifier_flags() -> None:
    why = "it is for restoration models"
    _require_unset(why, _PROTOCOL, _ROOT, _INPUT, _TARGET, _NAMING, _TILE)
    require(_ENSEMBLE.value == 1, f"--ensemble does not apply: {why}")
    require(not _OVERLAP.present, f"--overlap does not apply: {why}")


def _require_unset(why: str, *holders: flags.FlagHolder) -> None:
    for holder in holders:
        require(holder.value is None, f"--{holder.name} does not apply: {why}")


def _fresh_folder(path: epath.Path) -> epath.Path:
    """Makes `path`, or `path-2` .. when there is an earlier report: none is overwritten."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.parent / f"{path.name}-{number}"
    candidate.mkdir(parents=True)
    return candidate


def _follows_weights() -> bool:
    """Whether the config is the default one, which says no more than the model's name."""
    return not any(arg.partition("=")[0] == "--config" for arg in sys.argv[1:])


def _default_config() -> str:
    """The config whose fields `--config...` may override: those of the model in question."""
    model = None
    for arg, following in itertools.pairwise([*sys.argv, ""]):
        flag, equals, value = arg.partition("=")
        value = value if equals else following
        if flag == "--model":
            model = value
        if flag == "--workdir":
            with contextlib.suppress(UserError, OSError):
                model = read_model_name(value)
    name = "maxim_folder.py" if model in maxim_jax.list_models() else "evaluate.py"
    argument = f":model={model}" if model in maxvit_jax.list_models() else ""
    return str(Path(configs.__file__).with_name(name)) + argument


if __name__ == "__main__":
    run_main(main, default_config=_default_config())
