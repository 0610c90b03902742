"""Semantic segmentation: every pixel gets a class. Cross entropy, and Dice if wanted."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from etils import epath
from jax import Array
from jax import numpy as jnp
from jax.sharding import Mesh

from common.config import require
from common.data import preprocess
from common.data.label_map_transform import EvalLabelMap, TrainLabelMap
from common.data.label_maps import KINDS, LabelMapSource, make_label_map_source
from common.data.renumbered import RenumberedLabelMaps
from common.errors import UserError, did_you_mean
from common.evaluation_settings import evaluation_settings
from common.layers.resize import bilinear
from common.metrics.segmentation import SegmentationEvaluator
from common.pictures import comparison_sheet, label_overlay
from common.predict import FilePredictor
from common.program import Program
from common.progress import ProgressReport
from common.report import result_lines
from common.task import Batch, Dataset, LoaderConfig, Report, Task, Variables, option
from common.unfinished_report import unfinished_report
from maxvit_jax import programs, segmenters
from maxvit_jax.dense_weights import (
    Preparation,
    normalized,
)
from maxvit_jax.segmentation import Segmenter, best_classes
from maxvit_jax.segmentation_loss import cross_entropy, dice
from maxvit_jax.segmentation_report import evaluate_images
from maxvit_jax.segmented_photos import SegmentedPhotos
from maxvit_jax.segmenter_info import meaning_of_weights
from maxvit_jax.tasks.dense import DenseInit, DenseTask

SHEET_ROWS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationData(LoaderConfig, Preparation):
    """The config's `data` section.

    Attributes:
      source: one of `common.data.label_maps.KINDS`: `"ade20k"`, `"voc"`, `"cityscapes"`, `"coco"`
        (its JSON, or your own in that format), `"folder"` (your own), `"shapes"` (drawn) or
        `"coins"` (scikit-image's photo).
      root: folder of the data set.
      train_split: split to train on.
      eval_split: split to evaluate on.
      holdout: share of the images kept for evaluation where `root` has no splits.
      classes: file that lists the classes of your own data; "" is the one in `root`.
      scenes: how many `"shapes"` draws to train on; 0: 2,000. To evaluate on there are 200.
      scene_size: their side in pixels; 0: 128.
      image_size: side in pixels of training crops.
      eval_size: side of the central parts evaluated during training; None: of the crops.
      scale: training images are resized by a random factor between these, beside `resize`.
      max_class_share: of a training crop, that one class may take, if ten tries allow.
      flip: mirror half of the training images left to right.
      photometric: vary brightness, contrast, saturation and hue of training images.
    """

    source: str
    root: str = ""
    train_split: str = "train"
    eval_split: str = "val"
    holdout: float = 0.1
    classes: str = ""
    scenes: int = 0
    scene_size: int = 0
    image_size: int = 512
    eval_size: int | None = None
    scale: tuple[float, ...] = (0.5, 2.0)
    max_class_share: float = 0.75
    flip: bool = True
    photometric: bool = False
    mean: tuple[float, ...] = preprocess.IMAGENET_MEAN
    std: tuple[float, ...] = preprocess.IMAGENET_STD

    def __post_init__(self):
        LoaderConfig.__post_init__(self)
        Preparation.__post_init__(self)
        hint = did_you_mean(self.source, KINDS)
        require(self.source in KINDS, f"config.data.source={self.source!r}: {hint}")
        require(0 <= self.holdout < 1, "config.data.holdout must be in [0, 1)")
        preprocess.check_image_size(self.image_size, "config.data.image_size")
        preprocess.check_image_size(self.eval_size or self.image_size, "config.data.eval_size")
        for name in ("scenes", "scene_size"):
            require(getattr(self, name) >= 0, f"config.data.{name} must not be negative")
        factors = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]
        require(factors, f"config.data.scale={self.scale}: a smaller and a larger factor")
        require(0 < self.max_class_share <= 1, "config.data.max_class_share must be in (0, 1]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      normaliser: the cross entropy is divided by the `"valid"` pixels, or by `"all"`, ignored ones
        too.
      class_weights: of the cross entropy, one per class; none: all are 1.
      dice_weight: of the Dice loss, beside the cross entropy's 1.
      auxiliary_weight: of the cross entropy of the auxiliary head, where the model has one.
    """

    kind: Literal["segmentation"] = "segmentation"
    normaliser: Literal["valid", "all"] = "valid"
    class_weights: tuple[float, ...] = ()
    dice_weight: float = 0.0
    auxiliary_weight: float = 0.4

    def __post_init__(self):
        for name in ("dice_weight", "auxiliary_weight"):
            require(getattr(self, name) >= 0, f"config.task.{name} must not be negative")
        require(min(self.class_weights, default=0) >= 0, "config.task.class_weights: none negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How photos are looked at, in evaluation and prediction."""

    scales: str = option("1", "Look at photos at these sizes, comma-separated: 0.75,1,1.25")
    flip: bool = option(False, "Look at mirror images too.")
    tile: int | None = option(None, "Side of a sliding window, instead of whole photos.")
    overlap: int | None = option(None, "Pixels that neighbouring windows share; a third of one.")

    every_size: bool = option(
        False, "Compile for the size of every photo, as official code, instead of few sizes."
    )

    def settings(self) -> dict[str, Any]:
        """Returns arguments of `Segmenter`."""
        try:
            scales = tuple(float(scale) for scale in self.scales.split(","))
        except ValueError:
            raise UserError(f"--scales={self.scales}: numbers with commas between") from None
        return {
            "scales": scales,
            "flip": self.flip,
            "tile": self.tile,
            "overlap": self.overlap,
            "few_sizes": not self.every_size,
        }


class SegmentationTask(DenseTask):
    """Trains and evaluates backbones with heads on images with label maps. See `DenseTask`."""

    kind = "segmentation"
    hub_task = "image-segmentation"
    package = segmenters
    sections = {"init": DenseInit, "task": LossConfig, "data": SegmentationData}
    preparation = Preparation
    renumbered = RenumberedLabelMaps
    resumable = (*Task.resumable, "data.root", "data.classes")
    best_metric = "eval/miou"
    shown = SHEET_ROWS
    weights_config = "evaluate_segmentation.py:model={name}"
    report_options = ViewOptions
    predict_options = ViewOptions

    def __init__(self, config: Mapping[str, Any], **sources: LabelMapSource | None):
        super().__init__(config, **sources)
        weights, classes = self.task_config.class_weights, self.model.num_classes
        require(
            len(weights) in (0, classes),
            f"config.task.class_weights: {len(weights)} for {classes} classes",
        )

    @property
    def class_names(self) -> list[str]:
        """One name per label."""
        return list(self.eval_source().class_names)

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`."""
        source = self.eval_source()
        return {"class_names": list(source.class_names), "palette": source.palette.tolist()}

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        side = self.data.image_size
        return {
            "image": jax.ShapeDtypeStruct((size, side, side, 3), np.uint8),
            "label_map": jax.ShapeDtypeStruct((size, side, side), np.uint8),
            "size": jax.ShapeDtypeStruct((size, 2), np.int32),
        }

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        cfg, labels = self.task_config, batch["label_map"]
        images = normalized(self.data, batch["image"], batch["size"])
        outputs, updates = self.model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": rng},
            method="all_logits",
        )
        outputs = [bilinear(logits, *labels.shape[1:]) for logits in outputs]

        def entropy(logits: Array) -> Array:
            weights = cfg.class_weights
            return cross_entropy(logits, labels, normaliser=cfg.normaliser, class_weights=weights)

        metrics = {"cross_entropy": entropy(outputs[0])}
        loss = metrics["cross_entropy"]
        if cfg.dice_weight:
            metrics["dice"] = dice(outputs[0], labels)
            loss += cfg.dice_weight * metrics["dice"]
        for logits in outputs[1:]:
            loss += cfg.auxiliary_weight * entropy(logits)
        valid = labels < self.model.num_classes
        right = (outputs[0].argmax(-1) == labels) & valid
        metrics["pixel_accuracy"] = right.sum() / jnp.maximum(valid.sum(), 1)
        return loss, (updates.get("batch_stats", {}), metrics)

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        data = self.data
        transform = TrainLabelMap(
            size=data.image_size,
            resize=data.resize,
            scale=data.scale,
            max_class_share=data.max_class_share,
            flip=data.flip,
            photometric=data.photometric,
        )
        return Dataset(self.train_source(), transform)

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `label_map` and `confidence` of `best_classes`."""
        return best_classes(self.model, self.data, variables, batch["image"], batch["size"])

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`: central parts, so that any number of devices can share them."""
        size = self.data.eval_size or self.data.image_size
        transform = EvalLabelMap(size=size, resize=self.data.resize)
        return {"eval": Dataset(self.eval_source(), transform)}

    def evaluators(self) -> list[SegmentationEvaluator]:
        """See `common.task.Task`."""
        return [SegmentationEvaluator(self.model.num_classes)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: image, predicted classes and true ones side by side."""
        rows, captions = [], []
        palette = self.eval_source().palette
        for i, (height, width) in enumerate(np.asarray(batch["size"])[:SHEET_ROWS]):
            inside = np.s_[i, :height, :width]
            image, truth = batch["image"][inside], batch["label_map"][inside]
            row = {"image": image, "truth": label_overlay(image, truth, palette)}
            if outputs is not None:
                predicted = label_overlay(image, outputs["label_map"][inside], palette)
                row = {"image": image, "predicted": predicted, "truth": row["truth"]}
            rows.append(list(row.values()))
            captions.append(list(row))
        return {"label_maps": comparison_sheet(rows, captions)}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def stored_data(cls, path: str, num_classes: int, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `DenseTask`."""
        del data
        return dataclasses.asdict(meaning_of_weights(path, num_classes)[0])

    def report(
        self, variables: Variables, folder: epath.PathLike, mesh: Mesh, options: ViewOptions
    ) -> Report:
        """See `common.task.Task`: whole images, compared at the labels' own size."""
        del mesh  # images of many sizes: one at a time
        segmenter = Segmenter(self.model, variables, self.data, **options.settings())
        dataset = Dataset(self.eval_source(), EvalLabelMap(size=None))
        settings = evaluation_settings(self, variables, {"eval": dataset}, options)
        with (
            unfinished_report(folder, settings) as report,
            ProgressReport(len(dataset.source), unit="image") as progress,
        ):
            summary = evaluate_images(
                segmenter,
                dataset,
                self.class_names,
                self.eval_source().palette,
                report.folder,
                kept=report.kept(),
                progress=progress.advance,
            )
        lines = result_lines({f"eval/{key}": summary[key] for key in SegmentationEvaluator.metrics})
        sizes = len(segmenter.compiled)
        lines.append(f"compiled for {sizes} size(s); the report is in {report.folder}")
        return Report(lines, [f"{row['name']}: {row['reason']}" for row in summary["skipped"]])

    @classmethod
    def predictor(
        cls, name: str, path: str, options: ViewOptions, *, batch_size: int, dtype: str
    ) -> FilePredictor:
        """See `common.task.Task`."""
        del batch_size  # photos of many sizes: one at a time
        model, variables = segmenters.load_pretrained(name, path, dtype=dtype)
        data, names, palette = meaning_of_weights(path, model.num_classes)
        return SegmentedPhotos(
            Segmenter(model, variables, data, names, **options.settings()), palette
        )

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`."""
        return programs.segmenter(name, path, size)

    # ---------------------------------------------------------------- parts

    def make_source(self, split: str) -> LabelMapSource:
        """See `DenseTask`."""
        data = self.data
        return make_label_map_source(
            data.source,
            root=data.root,
            split=split,
            train_split=data.train_split,
            holdout=data.holdout,
            classes=data.classes,
            count=data.scenes if split == data.train_split else 0,
            size=data.scene_size,
            max_corrupt=data.max_corrupt,
        )
