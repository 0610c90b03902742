"""Images with any number of labels: a sigmoid per class, binary cross entropy."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import jax
import numpy as np
import optax
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp
from scipy.special import expit

import maxvit_jax
from common.config import require
from common.data.images import decode
from common.data.label_tables import read_label_csv
from common.data.labelled_files import LabelledFiles
from common.data.preprocess import height_width, normalize
from common.data.renumbered import RenumberedTags
from common.data.table_files import Parts, only_csv
from common.metrics.multilabel import MultilabelEvaluator
from common.model_fields import refuse_code
from common.pictures import captioned_sheet
from common.predict import PhotoPredictor
from common.task import Batch, Dataset, HeadInit, Task, Variables, option
from common.train.checkpoint import restore_variables
from common.train.labels import stored_names
from common.train.run_directory import LABELS_FILE, read_config, read_labels
from maxvit_jax.classifier_images import ClassifierImages
from maxvit_jax.inference import class_logits
from maxvit_jax.multilabel_report import write_multilabel_report

SHEET_IMAGES = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelData(ClassifierImages):
    """The config's `data` section; how images are prepared is in `ClassifierImages`.

    Attributes:
      root: folder of the data set.
      table: CSV file below `root` (`common.data.label_tables`); "": the only one there.
      images: folder of the images below `root`, searched with the folders in it; "": `root`.
      image_column: path or name of the image.
      label_column: names of its labels; a table without that column has one of 0 and 1 per class.
      class_names: of the classes, in their order; (): all that the table has.
      train_list: text file with an image per line; "" and no `eval_list`: all but those held out.
      eval_list: the same of images to evaluate on. Of one list alone the other part is the rest.
      holdout: share of the images kept for evaluation where there are no lists.
      split_seed: of the choice of these.
    """

    root: str = ""
    table: str = ""
    images: str = ""
    image_column: str = "image"
    label_column: str = "labels"
    class_names: tuple[str, ...] = ()
    train_list: str = ""
    eval_list: str = ""
    holdout: float = 0.1
    split_seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        require(0 < self.holdout < 1, "config.data.holdout must be between 0 and 1")
        require(self.split_seed >= 0, "config.data.split_seed must not be negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      threshold: labels of this probability or more are predicted.
    """

    kind: Literal["multilabel"] = "multilabel"
    threshold: float = 0.5

    def __post_init__(self):
        require(0 < self.threshold < 1, "config.task.threshold must be between 0 and 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelOptions:
    """What `launch.predict` takes for a model of labels."""

    threshold: float | None = option(
        None, "Probability of labels that are written, if not that of the run."
    )

    def __post_init__(self):
        share = self.threshold is None or 0 < self.threshold < 1
        require(share, f"--threshold={self.threshold}: use a probability between 0 and 1")


class MultilabelTask(Task):
    """Trains and evaluates any model of `maxvit_jax` on images with any number of labels.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: images to train on instead of those that `data` names.
      eval_source: the same for evaluation.
      class_names: of the labels, where there is no data.

    Raises:
      UserError: a section that doesn't hold together, or data that isn't there.
    """

    kind = "multilabel"
    package = maxvit_jax
    sections = {"init": HeadInit, "task": MultilabelConfig, "data": MultilabelData}
    # Data that moved, or has the classes in another order.
    resumable = (*Task.resumable, "data.root", "data.table", "data.images", "data.class_names")
    best_metric = "eval/map"
    shown = SHEET_IMAGES
    predict_options = MultilabelOptions

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: LabelledFiles | None = None,
        eval_source: LabelledFiles | None = None,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__(config)
        self._train_source, self._eval_source = train_source, eval_source
        self._class_names = class_names
        classes = self.model_config.get("num_classes")
        self.model = self.create_model(num_classes=classes or len(self.class_names))
        self.data.require_fits(self.model)

    @property
    def class_names(self) -> Sequence[str]:
        """One name per label."""
        return self._class_names or self.eval_source().class_names

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`: the names of the classes."""
        return {"class_names": [*self.class_names]}

    def number_classes(self, names: Sequence[str]) -> None:
        """See `common.task.Task`."""
        self._eval_source = RenumberedTags(self.eval_source(), names)

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        height, width = height_width(self.data.image_size)
        return {
            "image": jax.ShapeDtypeStruct((size, height, width, self.data.channels), np.uint8),
            "labels": jax.ShapeDtypeStruct((size, self.model.num_classes), np.float32),
        }

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`: the mean over images and classes.

        `label_accuracy` is the share of all labels, there or not, that a probability of 0.5 tells.
        """
        images = normalize(batch["image"], self.data.mean, self.data.std)
        logits, updates = self.model.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": rng}
        )
        loss = optax.sigmoid_binary_cross_entropy(logits, batch["labels"]).mean()
        right = jnp.mean((logits > 0) == (batch["labels"] > 0.5), dtype=jnp.float32)
        return loss, (updates.get("batch_stats", {}), {"label_accuracy": right})

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        if self._train_source is None:
            self._train_source = self._make_source(training=True)
        self._train_source = RenumberedTags.as_in(self._train_source, self.class_names)
        self._check_classes(self._train_source)
        return Dataset(self._train_source, self.data.train_transform())

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `logits` before the sigmoid, float32 `[batch, classes]`."""
        return {"logits": class_logits(self.model, self.data, variables, batch["image"])}

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`."""
        self._check_classes(self.eval_source())
        return {"eval": Dataset(self.eval_source(), self.data.eval_transform())}

    def eval_source(self) -> LabelledFiles:
        """Returns the images to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._make_source(training=False)
        return self._eval_source

    def evaluators(self) -> list[MultilabelEvaluator]:
        """See `common.task.Task`."""
        return [MultilabelEvaluator(self.model.num_classes, self.task_config.threshold)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: a sheet of images with their labels or predictions."""
        images, labels = (np.asarray(batch[n])[:SHEET_IMAGES] for n in ("image", "labels"))
        captions = [self._names(row > 0) for row in labels]
        if outputs is not None:
            given = expit(outputs["logits"][:SHEET_IMAGES]) >= self.task_config.threshold
            right = (given == (labels > 0)).all(1)
            captions = [
                "!" * (not r) + self._names(row) for r, row in zip(right, given, strict=True)
            ]
        pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
        return {"images": captioned_sheet(np.stack([*map(decode, pixels)]), captions)}

    # ---------------------------------------------------------------- what users run

    def write_report(
        self,
        folder: epath.Path,
        metrics: Mapping[str, float],
        evaluators: Sequence[MultilabelEvaluator],
    ) -> list[str]:
        """See `common.task.Task`."""
        source = self.eval_source()
        return write_multilabel_report(
            folder,
            metrics,
            evaluators[0],
            self.class_names,
            self.task_config.threshold,
            source.name,
            lambda position, side: decode(source[position]["image"], min_side=side),
        )

    @classmethod
    def of_run(cls, path: str, dtype: str) -> tuple[Self, Variables]:
        """See `common.task.Task`: the run knows its classes, wherever its data is."""
        config = read_config(path)
        refuse_code(path, config["model"])
        names = stored_names(path, read_labels(path))
        require(bool(names), f"{path} lacks {LABELS_FILE}, which names its classes")
        model = config["model"] | {"dtype": dtype, "num_classes": len(names)}
        task = cls(config | {"model": model}, class_names=names)
        return task, restore_variables(path)[1]

    @classmethod
    def predictor(
        cls, name: str, path: str, options: MultilabelOptions, *, batch_size: int, dtype: str
    ) -> PhotoPredictor:
        """See `common.task.Task`."""
        task, variables = cls.of_run(path, dtype)
        if options.threshold is not None:
            task.task_config = dataclasses.replace(task.task_config, threshold=options.threshold)
        return PhotoPredictor(task, variables, batch_size=batch_size)

    def example_of_photo(self, photo: bytes | np.ndarray) -> dict[str, np.ndarray]:
        """See `common.task.Task`."""
        return self.data.eval_transform()({"image": photo, "name": ""})

    def rows_of_outputs(self, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """See `common.task.Task`: the labels that reach the threshold, the most probable first."""
        probabilities = expit(outputs["logits"])
        order = np.argsort(-probabilities, kind="stable")
        given = [i for i in order if probabilities[i] >= self.task_config.threshold]
        texts = (f"{probabilities[i]:.6g}" for i in given)
        names = (self.class_names[i] for i in given)
        return [{"labels": ";".join(names), "probabilities": ";".join(texts)}]

    # ---------------------------------------------------------------- parts

    def _names(self, chosen: np.ndarray) -> str:
        return ", ".join(self.class_names[i] for i in np.flatnonzero(chosen)) or "-"

    def _check_classes(self, source: LabelledFiles) -> None:
        found, expected = len(source.class_names), self.model.num_classes
        require(
            found == expected,
            f"config.model.num_classes={expected}, but the data has {found} classes; set it to"
            " that, or leave it out",
        )

    def _make_source(self, *, training: bool) -> LabelledFiles:
        data = self.data
        require(bool(data.root), "config.data.root is empty: the folder of images and labels")
        root = Path(data.root).expanduser()
        for place in (root, root / data.images):
            require(place.is_dir(), f"no folder {str(place)!r}; give the one that holds the images")
        table = read_label_csv(
            root / data.table if data.table else only_csv(root, "labels"),
            image_column=data.image_column,
            label_column=data.label_column,
            class_names=data.class_names,
        )
        parts = Parts(data.train_list, data.eval_list, data.holdout, data.split_seed)
        source = LabelledFiles(table, root / data.images, parts, training)
        logging.info("to %s on: %s", "train" if training else "evaluate", source.summary)
        return source
