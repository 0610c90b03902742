"""Detection: boxes, classes and masks of objects."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from absl import logging
from etils import epath
from jax import Array

from common.config import require
from common.data import preprocess
from common.data.class_lists import distinct_colours
from common.data.copy_paste import CopyPaste
from common.data.detection import KINDS, DetectionSource, make_detection_source
from common.data.detection_transform import (
    MASK_SIZE,
    EvalDetection,
    TrainDetection,
    decoded,
    orientations,
)
from common.data.renumbered import RenumberedObjects
from common.errors import UserError, did_you_mean
from common.metrics.detection import DetectionEvaluator
from common.metrics.evaluator import Evaluator
from common.pictures import box_overlay, comparison_sheet
from common.predict import FilePredictor
from common.program import Program
from common.task import Batch, Dataset, LoaderConfig, Task, Variables, option
from maxvit_jax import detectors, programs
from maxvit_jax.dense_weights import (
    normalized,
)
from maxvit_jax.detected_photos import DetectedPhotos
from maxvit_jax.detection import Detector, find_objects
from maxvit_jax.detection_report import MIN_SCORE, write_detection_report
from maxvit_jax.detector_info import Canvas, meaning_of_weights
from maxvit_jax.tasks.dense import DenseInit, DenseTask

SHEET_ROWS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionData(LoaderConfig, Canvas):
    """The config's `data` section.

    Attributes:
      source: one of `common.data.detection.KINDS`: `"coco"` (COCO's JSON: its own layout, or what
        annotation tools export), `"voc"`, `"yolo"`, `"tfds"` (boxes alone), `"shapes"` (drawn) or
        `"coins"` (scikit-image's photo).
      root: folder of the data set.
      train_split: split to train on.
      eval_split: split to evaluate on.
      holdout: share of the images kept for evaluation where the data has no splits.
      annotations: of `"coco"`: the JSON below `root`; `{split}` in it stands for the split.
      images: of `"coco"`: folder of the images below `root`, likewise.
      name: of `"tfds"`: the data set, such as "coco/2017".
      data_dir: of `"tfds"`: where data sets lie; None is tfds's default.
      scenes: how many `"shapes"` draws to train on; 0: 2,000. To evaluate on there are 200.
      scene_size: their side in pixels; 0: 128.
      image_size: side in pixels of the square canvas that images are put on.
      short_side: other side of a canvas that is turned for portrait images, so that there are two
        shapes of batches; None: it is a square. Prediction takes the square in any case.
      scale: training images are resized by a random factor between these, relative to what fits
        the canvas (or is `resize`), and cropped.
      flip: mirror half of the training images left to right.
      copy_paste: share of the training images that get objects of another one; they need masks.
      max_objects: of a training image; those beyond are left out.
    """

    source: str
    root: str = ""
    train_split: str = "train"
    eval_split: str = "val"
    holdout: float = 0.1
    annotations: str = ""
    images: str = ""
    name: str = ""
    data_dir: str | None = None
    scenes: int = 0
    scene_size: int = 0
    image_size: int = 640
    short_side: int | None = None
    scale: tuple[float, ...] = (0.1, 2.0)
    flip: bool = True
    copy_paste: float = 0.0
    max_objects: int = 100
    mean: tuple[float, ...] = preprocess.IMAGENET_MEAN
    std: tuple[float, ...] = preprocess.IMAGENET_STD

    def __post_init__(self):
        LoaderConfig.__post_init__(self)
        Canvas.__post_init__(self)
        hint = did_you_mean(self.source, KINDS)
        require(self.source in KINDS, f"config.data.source={self.source!r}: {hint}")
        fits = self.short_side is None or 0 < self.short_side <= self.image_size
        require(fits, f"config.data.short_side={self.short_side} is not in 1 to image_size")
        for name in ("holdout", "copy_paste"):
            share = getattr(self, name)
            require(0 <= share < 1, f"config.data.{name} must be in [0, 1)")
        for name in ("scenes", "scene_size"):
            require(getattr(self, name) >= 0, f"config.data.{name} must not be negative")
        require(self.max_objects > 0, "config.data.max_objects must be positive")
        factors = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1]
        require(factors, f"config.data.scale={self.scale}: a smaller and a larger factor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """The config's `task` section: the losses are the model's.

    Attributes:
      kind: of job.
    """

    kind: Literal["detection"] = "detection"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionReportOptions:
    """What `launch.evaluate` takes for detection."""

    score: float = option(MIN_SCORE, "Score from which detections are drawn and errors counted.")

    def __post_init__(self):
        _require_share(self.score)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """What `launch.predict` takes for detection."""

    score: float = option(MIN_SCORE, "Leave out detections with a lower score.")
    classes: str = option("", "Only these classes: names, comma-separated.")

    def __post_init__(self):
        _require_share(self.score)


class DetectionTask(DenseTask):
    """Trains and evaluates detectors on images with boxes, and masks. See `DenseTask`."""

    kind = "detection"
    hub_task = "object-detection"
    package = detectors
    sections = {"init": DenseInit, "task": DetectionConfig, "data": DetectionData}
    preparation = Canvas
    renumbered = RenumberedObjects
    resumable = (*Task.resumable, "data.root", "data.annotations", "data.images", "data.data_dir")
    best_metric = "eval/box_ap"
    shown = SHEET_ROWS
    weights_config = "evaluate_detection.py:model={name}"
    report_options = DetectionReportOptions
    predict_options = DetectionOptions

    def __init__(self, config: Mapping[str, Any], **sources: DetectionSource | None):
        super().__init__(config, **sources)
        self._min_score = MIN_SCORE

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`."""
        source = self.eval_source()
        return {
            "class_names": list(source.class_names),
            "category_ids": list(source.category_ids),
        }

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        data = self.data
        objects = size, data.max_objects
        batch = {
            "image": jax.ShapeDtypeStruct((size, *self._canvas["size"], 3), np.uint8),
            "size": jax.ShapeDtypeStruct((size, 2), np.int32),
            "boxes": jax.ShapeDtypeStruct((*objects, 4), np.float32),
            "labels": jax.ShapeDtypeStruct(objects, np.int32),
        }
        if self._masks:
            batch["masks"] = jax.ShapeDtypeStruct((*objects, MASK_SIZE, MASK_SIZE), np.uint8)
        return batch

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        dropout, drawn = jax.random.split(rng)
        losses, updates = self.model.apply(
            variables,
            normalized(self.data, batch["image"], batch["size"]),
            batch,
            drawn,
            mutable=["batch_stats"],
            rngs={"dropout": dropout},
            method="losses",
        )
        return sum(losses.values()), (updates.get("batch_stats", {}), losses)

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        data = self.data
        source = self.train_source()
        transform = TrainDetection(
            **self._canvas,
            resize=data.resize,
            scale=data.scale,
            flip=data.flip,
            max_objects=data.max_objects,
            masks=self._masks,
        )
        if data.copy_paste:
            require(
                source.has_masks, "config.data.copy_paste needs objects with masks; set it to 0"
            )
            transform = CopyPaste(
                transform=transform,
                source=source,
                probability=data.copy_paste,
                scale=data.scale,
            )
        return Dataset(source, transform, self._groups(source))

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: the 100 best objects, as `maxvit_jax.heads.select.Objects`."""
        return find_objects(self.model, self.data, variables, batch["image"], batch["size"])

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`."""
        source = self.eval_source()
        transform = EvalDetection(**self._canvas, resize=self.data.resize)
        return {"eval": Dataset(source, transform, self._groups(source))}

    def evaluators(self) -> list[Evaluator]:
        """See `common.task.Task`."""
        ids = self.eval_source().category_ids
        return [DetectionEvaluator(self._ground_truth, ids, self._masks)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: boxes on the images, as trained on or found."""
        names = self.eval_source().class_names
        palette = distinct_colours(len(names))
        pictures = []
        for i, (height, width) in enumerate(np.asarray(batch["size"])[:SHEET_ROWS]):
            image = batch["image"][i, :height, :width]
            if outputs is None:
                there = np.flatnonzero(batch["labels"][i] >= 0)
                boxes, kinds, scores = batch["boxes"][i], batch["labels"][i], None
            else:
                there = np.flatnonzero(outputs["scores"][i] >= MIN_SCORE)
                boxes, kinds = outputs["boxes"][i], outputs["classes"][i]
                scores = outputs["scores"][i][there]
            drawn = box_overlay(image, boxes[there], kinds[there], names, palette, scores=scores)
            pictures.append(drawn)
        caption = "to learn" if outputs is None else f"found with a score of at least {MIN_SCORE:g}"
        rows = [[picture] for picture in pictures]
        return {"objects": comparison_sheet(rows, [[caption]] * len(rows))}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def stored_data(cls, path: str, num_classes: int, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `DenseTask`."""
        stored = dataclasses.asdict(meaning_of_weights(path, num_classes)[0])
        if any(data[name] != stored[name] for name in ("image_size", "resize")):
            stored["short_side"] = None  # is of the config's canvas
        return stored

    def report(
        self, variables: Variables, folder: epath.Path, mesh: Any, options: DetectionReportOptions
    ) -> Any:
        """See `common.task.Task`."""
        self._min_score = options.score
        return super().report(variables, folder, mesh, options)

    def write_report(
        self, folder: epath.Path, metrics: Mapping[str, float], evaluators: Sequence[Evaluator]
    ) -> list[str]:
        """See `common.task.Task`."""
        source, (evaluator,) = self.eval_source(), evaluators
        place = {row["id"]: i for i, row in enumerate(evaluator.ground_truth["images"])}
        return write_detection_report(
            folder,
            evaluator,
            lambda image_id: decoded(source[place[image_id]]),
            min_score=self._min_score,
        )

    @classmethod
    def predictor(
        cls, name: str, path: str, options: DetectionOptions, *, batch_size: int, dtype: str
    ) -> FilePredictor:
        """See `common.task.Task`."""
        model, variables = detectors.load_pretrained(name, path, dtype=dtype)
        canvas, meaning = meaning_of_weights(path, model.num_classes)
        detector = Detector(model, variables, canvas, meaning)
        return DetectedPhotos(detector, options.score, options.classes, batch_size=batch_size)

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`."""
        return programs.detector(name, path, size)

    # ---------------------------------------------------------------- parts

    @property
    def _canvas(self) -> dict[str, Any]:
        """Arguments of the transforms."""
        long, short = self.data.image_size, self.data.short_side
        return {"size": (short or long, long), "turned": short is not None}

    @functools.cached_property
    def _ground_truth(self) -> dict[str, Any]:
        """For every evaluation: made once, as it may be large."""
        return self.eval_source().ground_truth()

    @functools.cached_property
    def _masks(self) -> bool:
        """Whether the model has masks, and the data must. Asked before the classes are known."""
        return getattr(self.create_model(num_classes=1), "masks", False)

    def _groups(self, source: DetectionSource) -> np.ndarray | None:
        return orientations(source.sizes) if self._canvas["turned"] else None

    def make_source(self, split: str) -> DetectionSource:
        """See `DenseTask`."""
        data, training = self.data, split == self.data.train_split
        source = make_detection_source(
            data.source,
            root=data.root,
            split=split,
            train_split=data.train_split,
            holdout=data.holdout,
            annotations=data.annotations,
            images=data.images,
            name=data.name,
            data_dir=data.data_dir,
            masks=self._masks or (training and data.copy_paste > 0),
            count=data.scenes if training else 0,
            size=data.scene_size,
            max_corrupt=data.max_corrupt,
        )
        if self._masks and not source.has_masks:
            raise UserError(
                f"split {split!r} has objects without masks ({source.summary}); set"
                " config.model.masks=False for boxes alone, or take +retinanet"
            )
        logging.info("to %s on: %s", "train" if training else "evaluate", source.summary)
        return source


def _require_share(score: float) -> None:
    require(0 <= score <= 1, f"--score={score}: a number from 0 to 1")
