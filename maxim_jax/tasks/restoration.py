"""Image restoration from pairs: multi-stage, multi-scale Charbonnier and frequency loss, mixup."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp
from jax.sharding import Mesh

import maxim_jax
from common.config import require
from common.data.degradations import parse_degradations
from common.data.pair_layouts import LAYOUTS
from common.data.pair_transform import EvalPair, TrainPair
from common.data.pairs import ImageFiles, PairSource, make_pair_source
from common.demo.demos import Demo
from common.errors import UserError, nearest_valid
from common.evaluation_settings import evaluation_settings
from common.explanation import Explainer
from common.metrics.psnr_ssim import psnr
from common.pictures import comparison_sheet
from common.predict import Predictor
from common.program import Program
from common.progress import ProgressReport
from common.task import Batch, Dataset, InitConfig, LoaderConfig, Report, Task, Variables, option
from common.unfinished_report import unfinished_report
from maxim_jax.checkpoints import CHECKPOINTS
from maxim_jax.evaluation import METRICS, RestorationEvaluator, evaluate_pairs
from maxim_jax.explained_photos import ExplainedPhotos, ExplainOptions
from maxim_jax.inference import Restorer, restore_images, restorer_program
from maxim_jax.losses import multi_stage_loss
from maxim_jax.protocols import PROTOCOLS, Protocol, get_protocol, picture
from maxim_jax.restored_photos import RestoredPhotos

SHEET_ROWS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestorationData(LoaderConfig):
    """The config's `data` section.

    Attributes:
      source: `"pairs"` (degraded photos and their targets), `"folder"` (clean photos of your own)
        or `"photos"` (those that come with scikit-image); the last two need `degradations`.
      layout: how a data set names its pairs, one of `common.data.pair_layouts.LAYOUTS` or patterns
        (`common.data.pair_layouts.layout_of`).
      root: folder of the data set, or of the clean photos.
      input_root: folder of the degraded photos; with `target_root` instead of `root`.
      target_root: folder of their targets.
      train_split: split to train on.
      eval_split: split to evaluate on.
      holdout: share of the targets kept for evaluation where there are no split folders; 0
        evaluates on what is trained on.
      crop_size: side in pixels of the training crops.
      eval_crop_size: side of the central crops evaluated during training.
      flip: mirror half of the training pairs left to right, and half upside down.
      rotate: turn training pairs by a random multiple of 90 degrees.
      degradations: applied in turn to clean photos, e.g. `{"kind": "gaussian_noise", "sigma": 25}`.
    """

    source: Literal["pairs", "folder", "photos"]
    layout: str = "equal"
    root: str = ""
    input_root: str = ""
    target_root: str = ""
    train_split: str = "train"
    eval_split: str = "test"
    holdout: float = 0.1
    crop_size: int = 256
    eval_crop_size: int = 256
    flip: bool = True
    rotate: bool = True
    degradations: tuple[dict, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        require(0 <= self.holdout < 1, "config.data.holdout must be in [0, 1)")
        clean = self.source != "pairs" and not self.degradations
        require(not clean, f"config.data.source={self.source!r}: set config.data.degradations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      charbonnier_eps: below it the Charbonnier loss is round, far above it is L1; images are 0..1.
      frequency_weight: of the frequency loss, beside the Charbonnier loss's 1.
      frequency_norm: of its Fourier transform, see `maxim_jax.losses.frequency_loss`.
      mixup_probability: share of the batches whose pairs are blended.
      mixup_alpha: of the Beta distribution of the shares.
    """

    kind: Literal["restoration"] = "restoration"
    charbonnier_eps: float = 1e-3
    frequency_weight: float = 0.1
    frequency_norm: Literal["backward", "ortho", "forward"] = "backward"
    mixup_probability: float = 0.0
    mixup_alpha: float = 1.2

    def __post_init__(self):
        require(self.charbonnier_eps > 0, "config.task.charbonnier_eps must be positive")
        require(self.frequency_weight >= 0, "config.task.frequency_weight must not be negative")
        require(0 <= self.mixup_probability <= 1, "config.task.mixup_probability: use [0, 1]")
        require(self.mixup_alpha > 0, "config.task.mixup_alpha must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where `launch.evaluate` finds the pairs for weights that have no run."""

    root: str | None = option(None, "Folder of a restoration data set with a test split.")
    input: str | None = option(None, "Folder of degraded images, instead of --root.")
    target: str | None = option(None, "Folder of their targets.")
    naming: str | None = option(
        None,
        f"How pairs are named: {', '.join(LAYOUTS)}, or patterns such as {{id}}_noisy:{{id}}. By"
        " default 'equal', or with --root as the protocol's data set.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How `launch.evaluate` measures restoration."""

    protocol: str | None = option(
        None,
        f"How to measure restoration: {', '.join(PROTOCOLS)}. By default as a run's data set is,"
        " or 'rgb'.",
    )
    tile: int | None = option(None, "Restore in tiles of this side instead of whole.")
    overlap: int = option(64, "Pixels that neighbouring tiles share.")
    ensemble: int = option(1, "Views whose mean is taken: 1, 4 or 8.")
    save_images: bool = option(False, "Write every restored image into the report's folder.")
    few_sizes: bool = option(False, "Pad to few sizes, as each is compiled; not the official way.")


class RestorationTask(Task):
    """Trains and evaluates any model of `maxim_jax` on pairs of degraded and clean images.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: pairs, or clean photos, to train on instead of those that `data` names.
      eval_source: the same for evaluation.

    Raises:
      UserError: a section that doesn't hold together, or data that isn't there.
    """

    kind = "restoration"
    hub_task = "image-to-image"
    package = maxim_jax
    sections = {"init": InitConfig, "task": LossConfig, "data": RestorationData}
    resumable = (*Task.resumable, "data.root", "data.input_root", "data.target_root")
    best_metric = "eval/psnr"
    images = "input"
    shown = SHEET_ROWS
    weights_config = "maxim_folder.py"
    report_options = ReportOptions
    source_options = SourceOptions
    explain_options = ExplainOptions

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: PairSource | None = None,
        eval_source: PairSource | None = None,
    ):
        super().__init__(config)
        self._train_source, self._eval_source = train_source, eval_source
        self.model = self.create_model()
        for field in ("crop_size", "eval_crop_size"):
            _check_size(getattr(self.data, field), self.model.size_multiple, field)
        self._degrade = parse_degradations(self.data.degradations)

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        shape = (size, self.data.crop_size, self.data.crop_size, 3)
        kind = np.float32 if self.data.degradations else np.uint8
        return {
            "input": jax.ShapeDtypeStruct(shape, kind),
            "target": jax.ShapeDtypeStruct(shape, np.uint8),
        }

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        cfg = self.task_config
        mix_rng, dropout_rng = jax.random.split(rng)
        images, targets = self._pairs(mix_rng, batch)
        outputs = self.model.apply(variables, images, train=True, rngs={"dropout": dropout_rng})
        loss = multi_stage_loss(
            outputs,
            targets,
            eps=cfg.charbonnier_eps,
            frequency_weight=cfg.frequency_weight,
            frequency_norm=cfg.frequency_norm,
        )
        error = jnp.square(jnp.clip(outputs[-1][0], 0, 1) - targets).mean((1, 2, 3))
        ratio = -10 * jnp.log10(jnp.maximum(error, 1e-10))  # finite: a log of zero ends the run
        return loss, ({}, {"psnr": ratio.mean()})

    def train_data(self) -> Dataset:
        """See `common.task.Task`: random crops."""
        data = self.data
        if self._train_source is None:
            self._train_source = self._make_source(data.train_split)
        transform = TrainPair(
            size=data.crop_size, flip=data.flip, rotate=data.rotate, degrade=self._degrade
        )
        return Dataset(self._train_source, transform)

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `restored`, float32 `[batch, height, width, 3]`, of one."""
        return {"restored": restore_images(self.model, variables, batch["input"])}

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`: central crops, so that any number of devices can share them."""
        transform = EvalPair(size=self.data.eval_crop_size, degrade=self._degrade)
        return {"eval": Dataset(self.eval_source(), transform)}

    def whole_eval_data(self) -> Dataset:
        """Returns the evaluation set at full size, for `maxim_jax.evaluation.evaluate_pairs`."""
        return Dataset(self.eval_source(), EvalPair(size=None, degrade=self._degrade))

    def eval_source(self) -> PairSource:
        """Returns the pairs, or clean photos, to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._make_source(self.data.eval_split)
        return self._eval_source

    def evaluators(self) -> list[RestorationEvaluator]:
        """See `common.task.Task`."""
        return [RestorationEvaluator()]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: input, restored and target side by side, with their PSNR."""
        batch = {key: np.asarray(value)[:SHEET_ROWS] for key, value in batch.items()}
        if outputs is None:  # what the network sees: blended pairs
            images, targets = self._pairs(jax.random.key(0), batch)
            columns = {"input": images, "target": targets}
        else:
            restored = np.asarray(outputs["restored"])[:SHEET_ROWS]
            columns = {"input": batch["input"], "restored": restored, "target": batch["target"]}
        columns = {name: picture(np.asarray(images)) for name, images in columns.items()}
        rows, captions = [], []
        for i, target in enumerate(columns["target"]):
            # What was filled up to the size of the crop is no photo.
            height, width = batch["size"][i] if "size" in batch else target.shape[:2]
            row = {name: images[i, :height, :width] for name, images in columns.items()}
            rows.append(list(row.values()))
            captions.append(
                [
                    name if name == "target" else f"{name} {psnr(image, row['target']):.2f} dB"
                    for name, image in row.items()
                ]
            )
        return {"pairs": comparison_sheet(rows, captions)}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def of_weights(
        cls,
        name: str,
        path: str,
        config: Any,
        asked: Mapping[str, Any] | None,
        options: tuple[SourceOptions, ReportOptions],
    ) -> tuple["RestorationTask", Variables]:
        """See `common.task.Task`: on the pairs that the options name."""
        where, how = options
        protocol = get_protocol(how.protocol or "rgb")
        layout = protocol.name if where.root and protocol.name in LAYOUTS else "equal"
        pairs = make_pair_source(
            "pairs",
            layout=where.naming or layout,
            root=where.root or "",
            input_root=where.input or "",
            target_root=where.target or "",
            split="test",
            check=False,  # what is wrong with them is said, and no obstacle
        )
        if isinstance(pairs, ImageFiles):
            logging.info("to evaluate on: %s", pairs.summary)
            for kind, files in pairs.problems().items():
                more = ", ..." if len(files) > 3 else ""
                logging.warning("%d of kind %r: %s%s", len(files), kind, ", ".join(files[:3]), more)
        model, variables = maxim_jax.load_pretrained(name, path)
        # The pairs are as they are: nothing of the config degrades them.
        data = config.data.to_dict() | {"source": "pairs", "degradations": ()}
        section = {"model": {"name": name}, "data": data}
        task = cls(config.to_dict() | section, eval_source=pairs)
        task.model = model
        return task, variables

    def report_name(self, options: ReportOptions) -> str:
        """See `common.task.Task`: the protocol's."""
        return self._protocol(options).name

    def report(
        self, variables: Variables, folder: epath.PathLike, mesh: Mesh, options: ReportOptions
    ) -> Report:
        """See `common.task.Task`: whole images, by a protocol."""
        protocol = self._protocol(options)
        settings = {
            key: getattr(options, key) for key in ("tile", "overlap", "ensemble", "few_sizes")
        }
        restorer = Restorer(self.model, variables, **settings)
        dataset = self.whole_eval_data()
        how = dataclasses.replace(options, protocol=protocol.name)
        depends_on = evaluation_settings(self, variables, {"eval": dataset}, how)
        with (
            unfinished_report(folder, depends_on) as report,
            ProgressReport(len(dataset.source), unit="image") as progress,
        ):
            summary = evaluate_pairs(
                restorer,
                dataset,
                protocol,
                report.folder,
                save_images=options.save_images,
                kept=report.kept(),
                progress=progress.advance,
            )
        lines = ["; ".join(f"{key}: {text}" for key, text in protocol.describe().items() if text)]
        for key in METRICS:
            mean, deviation = summary["mean"][key], summary["std"][key]
            lines.append(f"{key}: {mean:.4f} (standard deviation {deviation:.4f})")
        lines.append(
            f"{summary['images']:,} images, averaged {summary['averaged']};"
            f" compiled for {len(restorer.compiled)} size(s)"
        )
        model = maxim_jax.find(self.model_config["name"]).model
        for row in CHECKPOINTS:
            if (row.data_set, row.model) == (protocol.name, model):
                lines.append(
                    f"published weights of {row.model}: PSNR {row.psnr:.2f}, SSIM {row.ssim:.3f}"
                )
        lines.append(f"the report is in {report.folder}")
        return Report(lines, [f"{row['name']}: {row['reason']}" for row in summary["skipped"]])

    @classmethod
    def predictor(
        cls, name: str, path: str, options: Any, *, batch_size: int, dtype: str
    ) -> Predictor:
        """See `common.task.Task`."""
        raise UserError(f"{name} restores photos: python -m launch.restore")

    @classmethod
    def explainer(cls, name: str, path: str, options: ExplainOptions, *, dtype: str) -> Explainer:
        """See `common.task.Task`."""
        model, variables = maxim_jax.load_pretrained(name, path, dtype=dtype)
        return ExplainedPhotos(model, variables, options)

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`."""
        return restorer_program(*maxim_jax.load_pretrained(name, path), size)

    @classmethod
    def demo(cls, name: str, path: str, options: Any, *, dtype: str) -> Demo:
        """See `common.task.Task`: before and after."""
        return RestoredPhotos(*maxim_jax.load_pretrained(name, path, dtype=dtype))

    # ---------------------------------------------------------------- parts

    def _protocol(self, options: ReportOptions) -> Protocol:
        layout = self.data.layout.removesuffix("_gamma") if self.data.source == "pairs" else ""
        return get_protocol(options.protocol or (layout if layout in PROTOCOLS else "rgb"))

    def _make_source(self, split: str) -> PairSource:
        data = self.data
        source = make_pair_source(
            data.source,
            layout=data.layout,
            root=data.root,
            input_root=data.input_root,
            target_root=data.target_root,
            split=split,
            train_split=data.train_split,
            holdout=data.holdout,
            max_corrupt=data.max_corrupt,
        )
        if isinstance(source, ImageFiles):
            what = "train" if split == data.train_split else "evaluate"
            logging.info("to %s on: %s", what, source.summary)
        return source

    def _pairs(self, rng: Array, batch: Batch) -> tuple[Array, Array]:
        """Inputs and targets in 0..1, blended if this batch is to be."""
        cfg = self.task_config
        if not cfg.mixup_probability:
            return _unit_range(batch["input"]), _unit_range(batch["target"])
        return mix_pairs(
            rng, batch["input"], batch["target"], cfg.mixup_probability, cfg.mixup_alpha
        )


def mix_pairs(
    rng: Array, images: Array, targets: Array, probability: float, alpha: float
) -> tuple[Array, Array]:
    """Mixup of pairs: with `probability` blends every pair of a batch with a partner's.

    The partner is the batch in reverse order; each pair has a share ~ Beta(alpha, alpha) of its
    own, the same for its input and its target.

    Args:
      rng: key; a function of the step.
      images: `[batch, height, width, channels]`, uint8 or float32 in 0..1. A partner may lie on
        another device, and uint8 is a quarter of the bytes to move.
      targets: the same.
      probability: in 0..1, that the batch is blended at all.
      alpha: a positive number.

    Returns:
      Inputs and targets of the same shapes, float32 in 0..1.
    """
    choice_rng, share_rng = jax.random.split(rng)
    share = jax.random.beta(share_rng, alpha, alpha, (len(images), 1, 1, 1), jnp.float32)
    share = jnp.where(jax.random.bernoulli(choice_rng, probability), share, 1.0)

    def blend(x: Array) -> Array:
        return share * _unit_range(x) + (1 - share) * _unit_range(x[::-1])

    return blend(images), blend(targets)


def _unit_range(images: Array) -> Array:
    images = jnp.asarray(images)
    scale = 255.0 if jnp.issubdtype(images.dtype, jnp.integer) else 1.0
    return images.astype(jnp.float32) / scale


def _check_size(size: int, multiple: int, field: str) -> None:
    require(
        size > 0 and size % multiple == 0,
        f"config.data.{field}={size}: the model takes multiples of {multiple};"
        f" {nearest_valid(size, multiple)}",
    )
