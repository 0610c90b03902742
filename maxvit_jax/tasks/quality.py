"""Image quality and aesthetics: how many people would give which score (NIMA, arXiv:1709.05424)."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp

import maxvit_jax
from common.config import require
from common.data import preprocess
from common.data.image_transform import EvalTransform, TrainTransform
from common.data.images import decode
from common.data.quality import KINDS, QualitySource, make_quality_source
from common.data.score_distributions import moments
from common.data.score_tables import AVA_SCORES, ScoreColumns
from common.data.table_files import Parts
from common.errors import did_you_mean
from common.metrics.quality import QualityEvaluator
from common.pictures import captioned_sheet
from common.program import Program
from common.task import Batch, Dataset, HeadInit, LoaderConfig, Task, Variables
from maxvit_jax.inference import class_logits
from maxvit_jax.judged_photos import JudgedPhotos
from maxvit_jax.programs import image_input
from maxvit_jax.quality_loss import earth_movers_distance
from maxvit_jax.quality_report import write_quality_report

SHEET_IMAGES = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityData(LoaderConfig):
    """The config's `data` section.

    Attributes:
      source: one of `common.data.quality.KINDS`: `"ava"` (images and AVA.txt), `"csv"` (your own:
        an image, and counts or moments of its scores) or `"photos"` (scikit-image's, spoilt).
      root: folder of the data set.
      table: file of the scores below `root`; "": AVA.txt, or the only CSV file.
      images: folder of the images below `root`, searched with the folders in it; "": `root`.
      scores: what votes are for, increasing: one per class of the model.
      image_column: of `"csv"`: path or name of the image.
      count_columns: of `"csv"`: votes for each score; (): `c1`, `c2` .. or `1`, `2` .., by the
        scores.
      mean_column: of `"csv"` without counts: mean score.
      std_column: the same, standard deviation of the scores.
      train_list: text file with an image per line; "" and no `eval_list`: all but those held out.
      eval_list: the same of images to evaluate on. Of one list alone the other part is the rest.
      holdout: share of the images kept for evaluation where there are no lists.
      split_seed: of the choice of these.
      crops: how many `"photos"` cuts to train on; 0: 2,000. To evaluate on there are 300.
      crop_size: their side in pixels; 0: 64.
      image_size: side in pixels that the model sees.
      crop: of training images, `"resize"` (the whole image) or `"random_resized"`, which shows
        people's scores of a photo with parts of it.
      min_area: smallest share of an image that a random crop keeps.
      interpolation: of resizes.
      flip: mirror half of the training images left to right.
      mean: subtracted, per channel on the 0..255 scale.
      std: divided by, on the same scale.
    """

    source: str
    root: str = ""
    table: str = ""
    images: str = ""
    scores: tuple[float, ...] = AVA_SCORES
    image_column: str = "image"
    count_columns: tuple[str, ...] = ()
    mean_column: str = "mean"
    std_column: str = "std"
    train_list: str = ""
    eval_list: str = ""
    holdout: float = 0.1
    split_seed: int = 0
    crops: int = 0
    crop_size: int = 0
    image_size: int = 224
    crop: Literal["resize", "random_resized"] = "resize"
    min_area: float = 0.7
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    flip: bool = True
    mean: tuple[float, ...] = preprocess.IMAGENET_MEAN
    std: tuple[float, ...] = preprocess.IMAGENET_STD

    def __post_init__(self):
        super().__post_init__()
        hint = did_you_mean(self.source, KINDS)
        require(self.source in KINDS, f"config.data.source={self.source!r}: {hint}")
        rising = all(a < b for a, b in itertools.pairwise(self.scores))
        finite = len(self.scores) > 1 and bool(np.isfinite(self.scores).all())
        require(rising and finite, f"config.data.scores={self.scores}: two or more, increasing")
        given, scores = len(self.count_columns), len(self.scores)
        columns = f"config.data.count_columns: {given} for {scores} scores; name one for each"
        require(given in (0, scores), columns)
        require(0 < self.holdout < 1, "config.data.holdout must be between 0 and 1")
        for name in ("split_seed", "crops", "crop_size"):
            require(getattr(self, name) >= 0, f"config.data.{name} must not be negative")
        preprocess.check_image_size(self.image_size, "config.data.image_size")
        require(0 < self.min_area <= 1, "config.data.min_area must be in (0, 1]")
        preprocess.check_normalization(self.mean, self.std)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      threshold: images of a higher mean score are good: what accuracy is about.
    """

    kind: Literal["quality"] = "quality"
    threshold: float = 5.0


class QualityTask(Task):
    """Trains and evaluates any model of `maxvit_jax` on images with scores.

    Its classes are the scores: the model predicts their distribution, and learns by the earth
    mover's distance. Dropout before the last layer is the model's field `head_dropout`; another
    learning rate for the head comes from `config.optimizer.groups`.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: images to train on instead of those that `data` names.
      eval_source: the same for evaluation.

    Raises:
      UserError: a section that doesn't hold together.
    """

    kind = "quality"
    package = maxvit_jax
    sections = {"init": HeadInit, "task": QualityConfig, "data": QualityData}
    resumable = (*Task.resumable, "data.root", "data.table", "data.images")  # data that moved
    best_metric = "eval/srcc"
    shown = SHEET_IMAGES
    photo_predictor = JudgedPhotos

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: QualitySource | None = None,
        eval_source: QualitySource | None = None,
    ):
        super().__init__(config)
        self._train_source, self._eval_source = train_source, eval_source
        scores, threshold = self.data.scores, self.task_config.threshold
        require(
            scores[0] < threshold < scores[-1],
            f"config.task.threshold={threshold:g} does not part the scores {scores[0]:g} to"
            f" {scores[-1]:g}; such as {(scores[0] + scores[-1]) / 2:g} does",
        )
        self.model = self.create_model(num_classes=len(scores))
        classes = self.model.num_classes
        require(
            classes == len(scores),
            f"config.model.num_classes={classes}, but there are {len(scores)} scores in"
            " config.data.scores; leave it out",
        )

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`: the scores as names of columns, and their values."""
        return {"class_names": self._names, "scores": list(self.data.scores)}

    # ---------------------------------------------------------------- training

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        side = self.data.image_size
        return {
            "image": jax.ShapeDtypeStruct((size, side, side, 3), np.uint8),
            "distribution": jax.ShapeDtypeStruct((size, len(self.data.scores)), np.float32),
            "position": jax.ShapeDtypeStruct((size,), np.int32),
        }

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        logits, updates = self.model.apply(
            variables,
            preprocess.normalize(batch["image"], self.data.mean, self.data.std),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": rng},
        )
        predicted, true = jax.nn.softmax(logits), batch["distribution"]
        errors = (predicted - true) @ jnp.asarray(self.data.scores, jnp.float32)
        metrics = {
            "emd": earth_movers_distance(predicted, true, r=1).mean(),
            "mean_error": jnp.abs(errors).mean(),
        }
        loss = earth_movers_distance(predicted, true, r=2).mean()
        return loss, (updates.get("batch_stats", {}), metrics)

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        data = self.data
        transform = TrainTransform(
            size=data.image_size,
            crop=data.crop,
            min_area=data.min_area,
            interpolation=data.interpolation,
            flip=data.flip,
            shift=0,
            randaugment=None,
        )
        if self._train_source is None:
            self._train_source = self._make_source(training=True)
        return Dataset(self._train_source, transform)

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`: `distribution`, float32 `[batch, scores]`."""
        logits = class_logits(self.model, self.data, variables, batch["image"])
        return {"distribution": jax.nn.softmax(logits)}

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`."""
        return {"eval": Dataset(self.eval_source(), self._eval_transform)}

    def eval_source(self) -> QualitySource:
        """Returns the images to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._make_source(training=False)
        return self._eval_source

    def evaluators(self) -> list[QualityEvaluator]:
        """See `common.task.Task`."""
        return [QualityEvaluator(self.data.scores, self.task_config.threshold)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: a sheet of images with true, and predicted mean scores."""
        images, true = (np.asarray(batch[n])[:SHEET_IMAGES] for n in ("image", "distribution"))
        captions = [f"{mean:.2f}" for mean in moments(true, self.data.scores)[0]]
        if outputs is not None:
            mean, _ = moments(outputs["distribution"][:SHEET_IMAGES], self.data.scores)
            captions = [f"{m:.2f} (true {text})" for m, text in zip(mean, captions, strict=True)]
        return {"images": captioned_sheet(images, captions)}

    # ---------------------------------------------------------------- what users run

    def write_report(
        self,
        folder: epath.Path,
        metrics: Mapping[str, float],
        evaluators: Sequence[QualityEvaluator],
    ) -> list[str]:
        """See `common.task.Task`."""
        source = self.eval_source()
        return write_quality_report(
            folder,
            metrics,
            evaluators[0].judged,
            self.data.scores,
            self.task_config.threshold,
            source.name,
            lambda position: decode(source[position]["image"]),
        )

    def example_of_photo(self, photo: bytes | np.ndarray) -> dict[str, np.ndarray]:
        """See `common.task.Task`."""
        return self._eval_transform({"image": photo, "name": ""})

    def rows_of_outputs(self, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """See `common.task.Task`: mean, standard deviation, and the share of every score."""
        mean, std = moments(outputs["distribution"], self.data.scores)
        shares = zip(self._names, outputs["distribution"], strict=True)
        histogram = {name: f"{share:.6g}" for name, share in shares}
        return [{"mean": f"{mean:.4f}", "std": f"{std:.4f}"} | histogram]

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`."""
        task, variables = cls.of_run(path, "float32")
        data = task.data
        resized = {"image_size": list(size) if size else data.image_size, "eval_method": "resize"}
        return Program(
            run=task.predict,
            variables=variables,
            inputs={"image": image_input(task.model, data, size)},
            outputs={"distribution": "float32 [b, scores]: the share of people for each score"},
            info={
                "preprocessing": resized | {"interpolation": data.interpolation},
                **task.labels(),
            },
        )

    # ---------------------------------------------------------------- parts

    @property
    def _names(self) -> list[str]:
        """The scores as texts."""
        return [f"{score:g}" for score in self.data.scores]

    @property
    def _eval_transform(self) -> EvalTransform:
        """The whole image, as people saw it."""
        return EvalTransform(
            size=self.data.image_size,
            method="resize",
            crop_fraction=1.0,  # of another method
            interpolation=self.data.interpolation,
        )

    def _make_source(self, *, training: bool) -> QualitySource:
        data = self.data
        columns = ScoreColumns(
            image=data.image_column,
            counts=data.count_columns,
            mean=data.mean_column,
            std=data.std_column,
        )
        source = make_quality_source(
            data.source,
            scores=data.scores,
            training=training,
            root=data.root,
            table=data.table,
            images=data.images,
            columns=columns,
            parts=Parts(data.train_list, data.eval_list, data.holdout, data.split_seed),
            count=data.crops if training else 0,
            size=data.crop_size,
        )
        logging.info("to %s on: %s", "train" if training else "evaluate", source.summary)
        return source
