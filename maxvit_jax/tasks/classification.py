"""Image classification: softmax cross entropy with label smoothing, mixup and CutMix."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
import optax
from jax import Array
from jax import numpy as jnp

import maxvit_jax
from common.config import parse_section, require
from common.data import preprocess
from common.data.augment import RandAugment
from common.data.augment_increasing import IncreasingRandAugment
from common.data.erase import random_erase
from common.data.image_transform import EvalTransform, TrainTransform
from common.data.mix import mix
from common.data.sources import Source, make_source
from common.errors import UserError
from common.metrics.classification import ClassificationEvaluator
from common.pictures import captioned_sheet
from common.task import Batch, Dataset, LoaderConfig, Variables

SHEET_IMAGES = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationData(LoaderConfig):
    """The config's `data` section.

    Attributes:
      source: `"tfds"` (`name`, `data_dir`, splits), `"folder"` (`root`, splits, `holdout`) or
        `"digits"` (scikit-learn's handwritten digits).
      name: tfds data set.
      root: folder with one folder of images per class, or with a folder of these per split.
      data_dir: where tfds data sets lie; None is tfds's own default.
      train_split: split to train on.
      eval_split: split to evaluate on.
      holdout: share of each class kept for evaluation when `root` has no split folders.
      image_size: side in pixels that the model sees.
      crop: of training images, `"inception"`, `"random_resized"` or `"resize"`.
      min_area: smallest share of an image that a random crop keeps.
      interpolation: of resizes; `"legacy_bicubic"` is that of MaxViT's release, `"random"` draws
        bilinear or bicubic in training.
      flip: mirror half of the training images.
      shift: move training images by up to that many pixels.
      randaugment: `"tensorflow"`, the original, or `"increasing"`, timm's (DeiT's and its heirs').
      randaugment_layers: operations per training image, 0 for none.
      randaugment_magnitude: their strength.
      eval_method: `"official"`, `"standard"` or `"resize"`.
      eval_crop_fraction: of `"standard"`.
      mean: subtracted, per channel on the 0..255 scale.
      std: divided by, on the same scale.
    """

    source: Literal["tfds", "folder", "digits"]
    name: str = ""
    root: str = ""
    data_dir: str | None = None
    train_split: str = "train"
    eval_split: str = "validation"
    holdout: float = 0.1
    image_size: int = 224
    crop: Literal["inception", "random_resized", "resize"] = "inception"
    min_area: float = 0.08
    interpolation: Literal[
        "nearest", "bilinear", "bicubic", "lanczos", "legacy_bicubic", "random"
    ] = "bicubic"
    flip: bool = True
    shift: int = 0
    randaugment: Literal["tensorflow", "increasing"] = "tensorflow"
    randaugment_layers: int = 0
    randaugment_magnitude: float = 15.0
    eval_method: Literal["official", "standard", "resize"] = "official"
    eval_crop_fraction: float = 0.875
    mean: tuple[float, ...] = preprocess.IMAGENET_MEAN
    std: tuple[float, ...] = preprocess.IMAGENET_STD

    def __post_init__(self):
        super().__post_init__()
        legacy = self.crop != "inception" and self.interpolation == "legacy_bicubic"
        require(not legacy, "config.data.interpolation: legacy_bicubic is for inception crops")
        require(self.image_size > 0, "config.data.image_size must be positive")
        require(0 < self.min_area <= 1, "config.data.min_area must be in (0, 1]")
        require(self.shift >= 0, "config.data.shift must not be negative")
        require(self.randaugment_layers >= 0, "config.data.randaugment_layers is negative")
        require(0 < self.eval_crop_fraction <= 1, "config.data.eval_crop_fraction: use (0, 1]")
        channels = len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        require(channels, "config.data.mean and std: three numbers each, std positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The config's `task` section.

    Attributes:
      label_smoothing: share of the target spread evenly over all classes.
      mixup_alpha: of the Beta distribution that mixes pairs of images; 0: off.
      cutmix_alpha: of the Beta distribution that sizes pasted boxes; 0: off.
      erase_probability: share of training images with a rectangle of noise, after the mixing, as
        timm's prefetching loader.
    """

    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    erase_probability: float = 0.0

    def __post_init__(self):
        for name in ("label_smoothing", "erase_probability"):
            require(0 <= getattr(self, name) <= 1, f"config.task.{name} must be in [0, 1]")
        for name in ("mixup_alpha", "cutmix_alpha"):
            require(getattr(self, name) >= 0, f"config.task.{name} must not be negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The config's `init` section.

    Attributes:
      weights: file or directory to start from (anything `load_pretrained` reads); None: random,
        "": a recipe that leaves them to you.
      reset_head: start with random dense layers in the head, whatever the file's.
    """

    weights: str | None = None
    reset_head: bool = False


class ClassificationTask:
    """Trains and evaluates any model of `maxvit_jax` on labelled images.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: labelled images to train on instead of those that `data` names.
      eval_source: the same for evaluation.

    Raises:
      UserError: a section that doesn't hold together, or data that isn't there.
    """

    best_metric = "eval/accuracy_top1"

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: Source | None = None,
        eval_source: Source | None = None,
    ):
        self.data = parse_section(ClassificationData, config["data"], "data")
        self.loss_config = parse_section(LossConfig, config.get("task", {}), "task")
        self.init_config = parse_section(InitConfig, config.get("init", {}), "init")
        self._train_source, self._eval_source = train_source, eval_source
        self._model_config = dict(config["model"])
        require("name" in self._model_config, "config.model.name is missing")
        for what, source in (("train_source", train_source), ("eval_source", eval_source)):
            if source is not None:
                self._check_classes(source, what)
        self.model = self._create_model()

    @property
    def class_names(self) -> list[str]:
        """One name per label."""
        return self.eval_source().class_names

    def init(self, rng: Array) -> Variables:
        """See `common.task.Task`."""
        size = self.data.image_size
        return self.model.init(rng, jnp.zeros((1, size, size, 3), jnp.float32))

    def pretrained(self) -> Variables | None:
        """See `common.task.Task`."""
        if self.init_config.weights is None:
            return None
        require(bool(self.init_config.weights), "this recipe needs --config.init.weights=<path>")
        if not self.init_config.reset_head:
            _, variables = maxvit_jax.load_pretrained(self.model, self.init_config.weights)
            return variables
        headless = self.model.clone(num_classes=0)
        _, variables = maxvit_jax.load_pretrained(headless, self.init_config.weights)
        fresh = jax.jit(lambda rng: self.init(rng)["params"]["head"])(jax.random.key(0))
        head = fresh | variables["params"]["head"]
        return {**variables, "params": {**variables["params"], "head": head}}

    def loss(
        self, variables: Variables, batch: Batch, rng: Array, train: bool
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        mix_rng, dropout_rng = jax.random.split(rng)
        images, targets = self._inputs(mix_rng, batch["image"], batch["label"])
        logits, updates = self.model.apply(
            variables,
            images,
            train=train,
            mutable=["batch_stats"] if train else [],
            rngs={"dropout": dropout_rng},
        )
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        accuracy = jnp.mean(logits.argmax(-1) == targets.argmax(-1), dtype=jnp.float32)
        return loss, (updates.get("batch_stats", {}), {"accuracy_top1": accuracy})

    def eval_step(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`."""
        images = self._normalize(batch["image"])
        return {"logits": self.model.apply(variables, images, train=False)}

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        data = self.data
        transform = TrainTransform(
            size=data.image_size,
            crop=data.crop,
            min_area=data.min_area,
            interpolation=data.interpolation,
            flip=data.flip,
            shift=data.shift,
            randaugment=_randaugment(data) if data.randaugment_layers else None,
        )
        if self._train_source is None:
            self._train_source = self._make_source(data.train_split)
        return Dataset(self._train_source, transform)

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`."""
        data = self.data
        transform = EvalTransform(
            size=data.image_size,
            method=data.eval_method,
            crop_fraction=data.eval_crop_fraction,
            interpolation="bicubic"
            if data.interpolation in ("legacy_bicubic", "random")
            else data.interpolation,
        )
        return {"eval": Dataset(self.eval_source(), transform)}

    def eval_source(self) -> Source:
        """Returns the labelled images to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._make_source(self.data.eval_split)
        return self._eval_source

    def evaluator(self) -> ClassificationEvaluator:
        """See `common.task.Task`."""
        return ClassificationEvaluator(self.model.num_classes)

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
        return {"images": captioned_sheet(pixels, captions)}

    def _create_model(self) -> Any:
        # None leaves a field as the variant has it.
        overrides = {n: v for n, v in self._model_config.items() if v is not None}
        for field, value in overrides.items():
            code = field != "dtype" and any(map(callable, jax.tree.leaves(value)))
            why = "a config holds no code, name it as 'package.module:Class'"
            require(not code, f"config.model.{field}: {why}")
        name = overrides.pop("name")
        classes = overrides.pop("num_classes", None)
        if classes is None:
            classes = len(self.class_names)
        return maxvit_jax.create_model(name, num_classes=classes, **overrides)

    def _make_source(self, split: str) -> Source:
        data = self.data
        source = make_source(
            data.source,
            name=data.name,
            root=data.root,
            split=split,
            data_dir=data.data_dir,
            train_split=data.train_split,
            holdout=data.holdout,
        )
        self._check_classes(source, f"split {split!r} of the data")
        return source

    def _check_classes(self, source: Source, what: str) -> None:
        found, expected = len(source.class_names), self._model_config.get("num_classes")
        if expected is not None and expected != found:
            raise UserError(
                f"config.model.num_classes={expected}, but {what} has {found}"
                " classes; set it to that, or leave it out"
            )

    def _normalize(self, images: Array) -> Array:
        images = jnp.asarray(images, jnp.float32)
        return (images - jnp.float32(self.data.mean)) / jnp.float32(self.data.std)

    def _inputs(self, rng: Array, images: Array, labels: Array) -> tuple[Array, Array]:
        """Normalised, mixed, erased images and smoothed, mixed targets `[batch, classes]`."""
        cfg = self.loss_config

        def prepare(images: Array, labels: Array) -> tuple[Array, Array]:
            targets = jax.nn.one_hot(labels, self.model.num_classes)
            return self._normalize(images), optax.smooth_labels(targets, cfg.label_smoothing)

        images, targets = mix(rng, images, labels, cfg.mixup_alpha, cfg.cutmix_alpha, prepare)
        if cfg.erase_probability:
            images = random_erase(jax.random.fold_in(rng, 1), images, cfg.erase_probability)
        return images, targets


def _randaugment(data: ClassificationData) -> RandAugment | IncreasingRandAugment:
    if data.randaugment == "increasing":
        return IncreasingRandAugment(
            data.randaugment_layers,
            data.randaugment_magnitude,
            interpolation="bicubic"
            if data.interpolation == "legacy_bicubic"
            else data.interpolation,
            fill=tuple(round(value) for value in data.mean),
        )
    # Shifts and cuts are pixels of images of 224 and more; of small ones nothing was left.
    scale = min(1.0, data.image_size / 224)
    return RandAugment(
        data.randaugment_layers,
        data.randaugment_magnitude,
        translate_const=100 * scale,
        cutout_const=40 * scale,
    )


def _mixture(target: np.ndarray, names: list[str]) -> str:
    first, second = np.argsort(target)[::-1][:2]
    if target[second] < 0.05:
        return names[first]
    return f"{target[first]:.1f} {names[first]} {target[second]:.1f} {names[second]}"
