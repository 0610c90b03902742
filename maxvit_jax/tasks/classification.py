"""Image classification: softmax cross entropy with label smoothing, mixup and CutMix."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import optax
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp

import maxvit_jax
from common.config import require
from common.data import preprocess
from common.data.balanced import BalancedSource, balanced_weights
from common.data.erase import random_erase
from common.data.images import decode
from common.data.mix import mix
from common.data.preprocess import normalize
from common.data.renumbered import RenumberedImages
from common.data.sources import SOURCES, Source, make_source
from common.demo.demos import Demo
from common.errors import UserError, did_you_mean
from common.explanation import Explainer
from common.metrics.classification import ClassificationEvaluator
from common.pictures import captioned_sheet
from common.program import Program
from common.task import Batch, Dataset, HeadInit, Task, Variables, option
from common.train.labels import match_labels, require_as_many
from maxvit_jax import programs
from maxvit_jax.classification_report import write_classification_report
from maxvit_jax.classified_photos import ClassifiedPhotos
from maxvit_jax.classifier_demo import ClassifierDemo
from maxvit_jax.classifier_images import ClassifierImages
from maxvit_jax.data_defaults import (
    class_names_of_weights,
    fields_of_weights,
    fill_data_section,
)
from maxvit_jax.explained_photos import ExplainedPhotos, ExplainOptions
from maxvit_jax.imagenet_classes import in_words_of
from maxvit_jax.inference import Classifier, class_logits
from maxvit_jax.photo_options import PhotoOptions, load_classifier

SHEET_IMAGES = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationData(ClassifierImages):
    """The config's `data` section; how images are prepared is in `ClassifierImages`.

    Attributes:
      source: one of `common.data.sources.SOURCES`: `"tfds"` (`name`, `data_dir`, splits),
        `"folder"` (`root`, splits, `holdout`) or `"digits"` (scikit-learn's handwritten digits).
      name: tfds data set.
      root: folder with one folder of images per class, or with a folder of these per split.
      data_dir: where tfds data sets lie; None is tfds's own default.
      train_split: split to train on.
      eval_split: split to evaluate on.
      holdout: share of each class kept for evaluation when `root` has no split folders.
      classes: of `"folder"`: names of the class folders in the order of their numbers, or a file
        that lists them (`common.data.class_maps`); (): sorted as text.
      sampling: how often training shows a class: `"natural"`, as often as it has images, or
        `"balanced"`, all equally often.
    """

    source: str
    name: str = ""
    root: str = ""
    data_dir: str | None = None
    train_split: str = "train"
    eval_split: str = "validation"
    holdout: float = 0.1
    classes: tuple[str, ...] | str = ()
    sampling: Literal["natural", "balanced"] = "natural"

    def __post_init__(self):
        super().__post_init__()
        hint = did_you_mean(self.source, SOURCES)
        require(self.source in SOURCES, f"config.data.source={self.source!r}: {hint}")
        unused = bool(self.classes) and self.source in ("tfds", "digits")
        require(not unused, f"config.data.classes has no use for source {self.source!r}: remove it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      label_smoothing: share of the target spread evenly over all classes.
      mixup_alpha: of the Beta distribution that mixes pairs of images; 0: off.
      cutmix_alpha: of the Beta distribution that sizes pasted boxes; 0: off.
      erase_probability: share of training images with a rectangle of noise, after the mixing, as
        timm's prefetching loader.
      class_weights: of the loss: `"equal"`, or `"balanced"`, the larger the fewer images a class
        has (`common.data.balanced.balanced_weights`). Targets are weighted, mixed ones too.
    """

    kind: Literal["classification"] = "classification"
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    erase_probability: float = 0.0
    class_weights: Literal["equal", "balanced"] = "equal"

    def __post_init__(self):
        for name in ("label_smoothing", "erase_probability"):
            require(0 <= getattr(self, name) <= 1, f"config.task.{name} must be in [0, 1]")
        for name in ("mixup_alpha", "cutmix_alpha"):
            require(getattr(self, name) >= 0, f"config.task.{name} must not be negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions(PhotoOptions):
    """What `launch.predict` takes for a classifier."""

    top: int = option(5, "Classes per photo.")

    def __post_init__(self):
        super().__post_init__()
        require(self.top > 0, f"--top={self.top} must be positive")


class ClassificationTask(Task):
    """Trains and evaluates any model of `maxvit_jax` on labelled images.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: labelled images to train on instead of those that `data` names.
      eval_source: the same for evaluation.

    Raises:
      UserError: a section that doesn't hold together, or data that isn't there.
    """

    kind = "classification"
    hub_task = "image-classification"
    package = maxvit_jax
    sections = {"init": HeadInit, "task": LossConfig, "data": ClassificationData}
    # Data that moved, or has the classes in another order.
    resumable = (*Task.resumable, "data.root", "data.data_dir", "data.classes")
    best_metric = "eval/accuracy_top1"
    shown = SHEET_IMAGES
    weights_config = "evaluate.py:model={name}"
    predict_options = PredictOptions
    explain_options = ExplainOptions

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: Source | None = None,
        eval_source: Source | None = None,
    ):
        super().__init__(config)
        twice = self.task_config.class_weights == self.data.sampling == "balanced"
        undone = "config.task.class_weights and config.data.sampling both balance classes"
        require(not twice, f"{undone}: together they favour small ones, choose one")
        self._train_source, self._eval_source = train_source, eval_source
        for what, source in (("train_source", train_source), ("eval_source", eval_source)):
            if source is not None:
                self._check_count(source, what)
        classes = self.model_config.get("num_classes")
        self.model = self.create_model(
            num_classes=len(self.class_names) if classes is None else classes
        )
        self.data.require_fits(self.model)

    @property
    def class_names(self) -> list[str]:
        """One name per label."""
        return self.eval_source().class_names

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`: the names of the classes, and how images were held out."""
        rule = getattr(self.eval_source(), "held_out", "")
        return {"class_names": list(self.class_names), **({"held_out": rule} if rule else {})}

    def number_classes(self, names: Sequence[str]) -> None:
        """See `common.task.Task`."""
        self._eval_source = RenumberedImages(self.eval_source(), names)

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        height, width = preprocess.height_width(self.data.image_size)
        return {
            "image": jax.ShapeDtypeStruct((size, height, width, self.data.channels), np.uint8),
            "label": jax.ShapeDtypeStruct((size,), np.int32),
        }

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        mix_rng, dropout_rng = jax.random.split(rng)
        images, targets = self._inputs(mix_rng, batch["image"], batch["label"])
        logits, updates = self.model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": dropout_rng}
        )
        loss = optax.softmax_cross_entropy(logits, targets * self._class_weights).mean()
        accuracy = jnp.mean(logits.argmax(-1) == targets.argmax(-1), dtype=jnp.float32)
        return loss, (updates.get("batch_stats", {}), {"accuracy_top1": accuracy})

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        source = self.train_source()
        if self.data.sampling == "balanced":
            source = BalancedSource(source)
        return Dataset(source, self.data.train_transform())

    def train_source(self) -> Source:
        """Returns the labelled images to train on, each once."""
        if self._train_source is None:
            self._train_source = self._make_source(self.data.train_split)
        self._train_source = RenumberedImages.as_in(self._train_source, self.class_names)
        _require_same_classes(self._train_source.class_names, self.class_names)
        names = list(self.class_names)
        require(len(names) > 1, f"one class, {', '.join(names)}: nothing to tell apart, add others")
        return self._train_source

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `logits`, float32 `[batch, classes]`."""
        return {"logits": class_logits(self.model, self.data, variables, batch["image"])}

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`."""
        return {"eval": Dataset(self.eval_source(), self.data.eval_transform())}

    def eval_source(self) -> Source:
        """Returns the labelled images to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._make_source(self.data.eval_split)
        return self._eval_source

    def evaluators(self) -> list[ClassificationEvaluator]:
        """See `common.task.Task`."""
        return [ClassificationEvaluator(self.model.num_classes)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: a sheet of images with their labels or predictions."""
        batch = {key: np.asarray(value)[:SHEET_IMAGES] for key, value in batch.items()}
        names = self.class_names
        if outputs is None:  # what the network sees: mixed images, mixed labels
            images, targets = self._inputs(jax.random.key(0), batch["image"], batch["label"])
            captions = [_mixture(target, names) for target in np.asarray(targets)]
            pixels = np.asarray(images) * np.float32(self.data.std) + np.float32(self.data.mean)
        else:
            predicted = outputs["logits"][:SHEET_IMAGES].argmax(-1)
            pairs = zip(batch["label"], predicted, strict=True)
            captions = [
                names[p] if p == label else f"!{names[p]} ({names[label]})" for label, p in pairs
            ]
            pixels = batch["image"]
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        return {"images": captioned_sheet(np.stack([*map(decode, pixels)]), captions)}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def of_weights(
        cls, name: str, path: str, config: Any, asked: Mapping[str, Any] | None, options: Any
    ) -> tuple["ClassificationTask", Variables]:
        """See `common.task.Task`: on ImageNet's validation split, prepared as the weights say.

        Classes are those of the weights, by name if these bring names along.
        """
        held = config.model.name
        require(held == name, f"--config is for {held}, not {name}: add --config.model.name={name}")
        given = {n: v for n, v in dict(config.model).items() if v is not None}
        size = (asked or {}).get("data.image_size")
        if asked is not None:  # the config's fields are defaults: the weights know better
            given = {n: v for n, v in given.items() if f"model.{n}" in asked}
            given = fields_of_weights(name, path, size) | given
        skipped = ("name", "num_classes")  # a fresh classifier is not worth evaluating
        fields = {n: v for n, v in given.items() if n not in skipped}
        model, variables = maxvit_jax.load_pretrained(name, path, **fields)
        classes = given.get("num_classes", model.num_classes)
        require(classes == model.num_classes, f"{path} has {model.num_classes} classes: {classes=}")
        if asked is not None:
            fill_data_section(config.data, name, path, asked, model.in_channels)
        fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
        left_out = ("parent", "num_classes")  # the data says how many, and which
        section = {n: v for n, v in fields.items() if n not in left_out} | {"name": name}
        task = cls({**config.to_dict(), "model": section})
        names = in_words_of(task.class_names, class_names_of_weights(path))
        match_labels(task, path, {"class_names": names})
        require_as_many(path, model.num_classes, task.labels())
        return task, variables

    def write_report(
        self,
        folder: epath.Path,
        metrics: Mapping[str, float],
        evaluators: Sequence[ClassificationEvaluator],
    ) -> list[str]:
        """See `common.task.Task`."""
        source = self.eval_source()
        return write_classification_report(
            folder,
            metrics,
            evaluators[0],
            self.class_names,
            source.name,
            lambda position, side: decode(source[position]["image"], min_side=side),
        )

    @classmethod
    def predictor(
        cls, name: str, path: str, options: PredictOptions, *, batch_size: int, dtype: str
    ) -> ClassifiedPhotos:
        """See `common.task.Task`."""
        loaded = load_classifier(name, path, options, dtype)
        return ClassifiedPhotos(Classifier(*loaded, batch_size=batch_size), options.top)

    @classmethod
    def explainer(cls, name: str, path: str, options: ExplainOptions, *, dtype: str) -> Explainer:
        """See `common.task.Task`."""
        return ExplainedPhotos(load_classifier(name, path, options, dtype), options)

    @classmethod
    def demo(cls, name: str, path: str, options: PredictOptions, *, dtype: str) -> Demo:
        """See `common.task.Task`."""
        return ClassifierDemo(load_classifier(name, path, options, dtype), options.top)

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`."""
        return programs.classifier(name, path, size)

    # ---------------------------------------------------------------- parts

    @functools.cached_property
    def _class_weights(self) -> np.ndarray | float:
        """Of the loss, `[classes]`."""
        if self.task_config.class_weights == "equal":
            return 1.0
        return balanced_weights(self.train_source())

    def _make_source(self, split: str) -> Source:
        source = make_source(self.data.source, split=split, **_fields(self.data))
        self._check_count(source, f"split {split!r} of the data")
        if hasattr(source, "summary"):
            what = "train" if split == self.data.train_split else "evaluate"
            logging.info("to %s on: %s", what, source.summary)
        return source

    def _check_count(self, source: Source, what: str) -> None:
        found, expected = len(source.class_names), self.model_config.get("num_classes")
        if expected is not None and expected != found:
            raise UserError(
                f"config.model.num_classes={expected}, but {what} has {found}"
                " classes; set it to that, or leave it out"
            )

    def _inputs(self, rng: Array, images: Array, labels: Array) -> tuple[Array, Array]:
        """Normalised, mixed, erased images and smoothed, mixed targets `[batch, classes]`."""
        cfg = self.task_config

        def prepare(images: Array, labels: Array) -> tuple[Array, Array]:
            targets = jax.nn.one_hot(labels, self.model.num_classes)
            images = normalize(images, self.data.mean, self.data.std)
            return images, optax.smooth_labels(targets, cfg.label_smoothing)

        images, targets = mix(rng, images, labels, cfg.mixup_alpha, cfg.cutmix_alpha, prepare)
        if cfg.erase_probability:
            images = random_erase(jax.random.fold_in(rng, 1), images, cfg.erase_probability)
        return images, targets


def _fields(data: ClassificationData) -> dict[str, Any]:
    return {f.name: getattr(data, f.name) for f in dataclasses.fields(data) if f.name != "source"}


def _require_same_classes(train: list[str], evaluation: list[str]) -> None:
    """Raises UserError unless every label means the same in both."""
    train, evaluation = list(train), list(evaluation)
    if train == evaluation:
        return
    parts = {"training": (train, evaluation), "evaluation": (evaluation, train)}
    found = [
        f"only in {part}: {', '.join(sorted(set(names) - set(others))[:5])}"
        for part, (names, others) in parts.items()
        if set(names) - set(others)
    ]
    raise UserError(
        f"the training data has {len(train)} classes, the evaluation data {len(evaluation)}:"
        f" {'; '.join(found) or 'the same in another order'}. Give both the same, in one order"
    )


def _mixture(target: np.ndarray, names: list[str]) -> str:
    first, second = np.argsort(target)[::-1][:2]
    if target[second] < 0.05:
        return names[first]
    return f"{target[first]:.1f} {names[first]} {target[second]:.1f} {names[second]}"
