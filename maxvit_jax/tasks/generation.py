"""Generation: a generator and a discriminator learn from each other, in one step."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.data.diff_augment import check_kinds, diff_augment
from common.data.image_folder import ImageFolder
from common.data.sources import SOURCES, Source, make_source
from common.data.square_crop import SquareCrop
from common.data.unlabelled import Numbered, Unlabelled
from common.demo.demos import Demo
from common.errors import did_you_mean
from common.metrics.generation import GenerationEvaluator
from common.pictures import captioned_sheet, comparison_sheet
from common.program import Program
from common.report import write_json
from common.task import Batch, Dataset, InitConfig, LoaderConfig, Task, Variables
from maxvit_jax import gans, programs
from maxvit_jax.feature_networks import FeatureNetwork, feature_network
from maxvit_jax.generated_images import GeneratedImages
from maxvit_jax.generation import between, draw_latents, from_pixels, made_images, to_pixels
from maxvit_jax.generation_loss import (
    Loss,
    discriminator_loss,
    generator_loss,
    squared_gradients,
)
from maxvit_jax.models.hit_gan import GAN

IMAGES = "images"  # a folder without classes
SEED = 0  # of the images that are evaluated: the first ones of `launch.generate --seed=0`
_STRIP = 8  # images from one latent to the next


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationData(LoaderConfig):
    """The config's `data` section. The side of images is the model's.

    Attributes:
      source: `"images"` (a folder without classes), or one of `common.data.sources.SOURCES`:
        `"tfds"` (`name`, `data_dir`, splits), `"folder"` (of class folders) or `"digits"`.
      name: tfds data set.
      root: folder of images.
      data_dir: where tfds data sets lie; None is tfds's own default.
      train_split: split to train on.
      eval_split: split to compare with.
      holdout: share of the images kept to compare with where `root` has no splits.
      crop_fraction: side of square crops over an image's shorter side; random in training, central
        in evaluation.
      flip: mirror half of the training images left to right.
    """

    source: str
    name: str = ""
    root: str = ""
    data_dir: str | None = None
    train_split: str = "train"
    eval_split: str = "train"
    holdout: float = 0.0
    crop_fraction: float = 1.0
    flip: bool = False

    def __post_init__(self):
        super().__post_init__()
        known = (IMAGES, *SOURCES)
        hint = did_you_mean(self.source, known)
        require(self.source in known, f"config.data.source={self.source!r}: {hint}")
        require(0 < self.crop_fraction <= 1, "config.data.crop_fraction must be in (0, 1]")
        require(0 <= self.holdout < 1, "config.data.holdout must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANConfig:
    """The config's `task` section.

    Attributes:
      kind: of job.
      loss: `"non_saturating"` or `"hinge"`.
      r1_weight: of the R1 penalty, the mean squared norm of the discriminator's gradient by real
        images as it sees them (no half is taken); 0: none.
      r1_every: steps from one penalty to the next, which weighs so many times more
        (arXiv:1912.04958, appendix B).
      consistency_weight: of balanced consistency (bCR, arXiv:2002.04724): the discriminator judges
        an image and an augmented one alike; 0: none.
      augment: kinds of `common.data.diff_augment` that real and made images are varied by before
        the discriminator sees them: for small sets.
      consistency_augment: the same of bCR's augmented images.
      features: whose features compare made images with real ones: a run of a classifier, or a
        directory of its weights; a file with the weights of FID's Inception network, by which alone
        numbers are called so; "": pixels of small images.
    """

    kind: Literal["generation"] = "generation"
    loss: Loss = "non_saturating"
    r1_weight: float = 10.0
    r1_every: int = 1
    consistency_weight: float = 0.0
    augment: tuple[str, ...] = ()
    consistency_augment: tuple[str, ...] = ("color", "translation", "cutout")
    features: str = ""

    def __post_init__(self):
        for name in ("r1_weight", "consistency_weight"):
            require(getattr(self, name) >= 0, f"config.task.{name} must not be negative")
        require(self.r1_every > 0, "config.task.r1_every must be positive")
        for name in ("augment", "consistency_augment"):
            check_kinds(getattr(self, name), f"config.task.{name}")


class GenerationTask(Task):
    """Trains generators of `maxvit_jax.gans` against their discriminators.

    Both learn from the same made images: the loss is the sum of both their losses, each of which
    sees the other network through `stop_gradient`. So one gradient is both, and one optimizer gives
    each its own settings by `optimizer.groups`.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: images to train on instead of those that `data` names.
      eval_source: the same to compare with.

    Raises:
      UserError: a section that doesn't hold together.
    """

    kind = "generation"
    hub_task = "unconditional-image-generation"
    package = gans
    sections = {"init": InitConfig, "task": GANConfig, "data": GenerationData}
    open_fields = ()
    resumable = (*Task.resumable, "data.root", "data.data_dir")  # data that moved
    best_metric = "-eval/frechet_distance"
    shown = 36

    model: GAN

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        train_source: Source | None = None,
        eval_source: Source | None = None,
    ):
        super().__init__(config)
        self._train_source, self._eval_source = train_source, eval_source
        self.model = self.create_model()
        why = "training needs a discriminator"
        require(not self.model.generator_only, f"config.model.generator_only: {why}")
        require(self.model.in_channels == 3, "config.model.in_channels: images have 3 here")

    @functools.cached_property
    def features(self) -> FeatureNetwork:
        """What compares images."""
        return feature_network(self.task_config.features)

    def labels(self) -> dict[str, Any]:
        """See `common.task.Task`."""
        return {"features": self.features.description}

    # ---------------------------------------------------------------- training

    def init(self, rng: Array) -> Variables:
        """See `common.task.Task`."""
        return self.model.init(rng, jnp.zeros((1, self.model.latent_dim), jnp.float32))

    def abstract_batch(self, size: int) -> Batch:
        """See `common.task.Task`."""
        side = self.model.image_size
        return {"image": jax.ShapeDtypeStruct((size, side, side, 3), np.uint8)}

    def loss(
        self, variables: Variables, batch: Batch, rng: Array
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """See `common.task.Task`."""
        cfg, params = self.task_config, variables["params"]
        latent_rng, real_rng, made_rng, consistency_rng = jax.random.split(rng, 4)
        latents = jax.random.normal(latent_rng, (len(batch["image"]), self.model.latent_dim))
        made, updates = self.model.apply(variables, latents, train=True, mutable=["batch_stats"])
        made = diff_augment(made_rng, made, cfg.augment)
        real = diff_augment(real_rng, from_pixels(batch["image"]), cfg.augment)

        def judge(params: Any, images: Array) -> Array:
            return self.model.apply({"params": params}, images, method="judge")

        # What is one forward pass is written as two; the compiler runs it once.
        logits = judge(jax.lax.stop_gradient(params), made)
        metrics = {"generator_loss": generator_loss(logits, loss=cfg.loss)}
        still = jax.lax.stop_gradient(made)
        real_logits, made_logits = judge(params, real), judge(params, still)
        loss = discriminator_loss(real_logits, made_logits, loss=cfg.loss)
        metrics |= {"discriminator_loss": loss}
        metrics |= {"real_logit": real_logits.mean(), "made_logit": made_logits.mean()}
        if cfg.r1_weight:
            penalty = functools.partial(self._r1, functools.partial(judge, params), real)
            if cfg.r1_every == 1:
                metrics["r1_penalty"] = penalty()
            else:
                due = batch["step"] % cfg.r1_every == 0
                metrics["r1_penalty"] = jax.lax.cond(due, penalty, lambda: jnp.float32(0))
        if cfg.consistency_weight:
            both = diff_augment(
                consistency_rng, jnp.concatenate((real, still)), cfg.consistency_augment
            )
            pairs = zip((real_logits, made_logits), jnp.split(both, 2), strict=True)
            apart = [jnp.square(logits - judge(params, seen)).mean() for logits, seen in pairs]
            metrics["consistency"] = cfg.consistency_weight * sum(apart)
        parts = ("generator_loss", "discriminator_loss", "r1_penalty", "consistency")
        total = sum(metrics[name] for name in parts if name in metrics)
        return total, (updates["batch_stats"], metrics)

    def _r1(self, judge: Any, real: Array) -> Array:
        cfg = self.task_config
        return cfg.r1_weight * cfg.r1_every * squared_gradients(judge, real)[0]

    def train_data(self) -> Dataset:
        """See `common.task.Task`."""
        if self._train_source is None:
            self._train_source = self._make_source(self.data.train_split)
        return Dataset(Unlabelled(self._train_source), self._crop())

    # ---------------------------------------------------------------- evaluation

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """See `common.task.Task`.

        Returns:
          `image`, uint8 `[batch, side, side, 3]`, made of the latent that belongs to an example's
          position in the data; and `strip`, the same of a few images between two latents, over and
          over.
        """
        make = functools.partial(made_images, self.model, variables)
        length, count = self.model.latent_dim, len(batch["position"])
        frames = min(_STRIP, count)
        ends = draw_latents(SEED, jnp.arange(2), length)
        strip = make(between(*ends, jnp.linspace(0, 1, frames)))
        return {
            "image": make(draw_latents(SEED, batch["position"], length)),
            "strip": strip[jnp.arange(count) % frames],
        }

    def eval_data(self) -> dict[str, Dataset]:
        """See `common.task.Task`: real images, whose positions say which are made."""
        if self._eval_source is None:
            self._eval_source = self._make_source(self.data.eval_split)
        return {"eval": Dataset(Numbered(self._eval_source), self._crop())}

    def evaluators(self) -> list[GenerationEvaluator]:
        """See `common.task.Task`."""
        network = self.features
        kind = {"has_logits": network.has_logits, "is_inception": network.is_inception}
        return [GenerationEvaluator(network, **kind)]

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """See `common.task.Task`: real images as the discriminator sees them; or made ones of the
        first latents, and those on the way from one latent to another."""
        if outputs is None:
            images = from_pixels(jnp.asarray(batch["image"][: self.shown]))
            seen = diff_augment(jax.random.key(0), images, self.task_config.augment)
            return {"images": _sheet(np.asarray(to_pixels(seen)))}
        frames = list(outputs["strip"][:_STRIP])
        strip = comparison_sheet([frames], [[""] * len(frames)], side=128)
        return {"images": _sheet(outputs["image"]), "strip": strip}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """See `common.task.Task`: of the generator."""
        require(size is None, f"--size does not apply: {name} makes images of one size")
        return programs.generator(name, path)

    def write_report(
        self,
        folder: epath.Path,
        metrics: Mapping[str, float],
        evaluators: Sequence[GenerationEvaluator],
    ) -> list[str]:
        """See `common.task.Task`: by whose features the numbers are."""
        found = self.features.description
        write_json(folder / "features.json", found)
        digest = f" (SHA-256 {found['sha256']})" if "sha256" in found else ""
        return [f"by features of {found['name']}{digest}"]

    @classmethod
    def demo(cls, name: str, path: str, options: Any, *, dtype: str) -> Demo:
        """See `common.task.Task`: images of a seed that the user chooses."""
        return GeneratedImages(*gans.load_pretrained(name, path, generator_only=True, dtype=dtype))

    # ---------------------------------------------------------------- parts

    def _crop(self) -> SquareCrop:
        data = self.data
        return SquareCrop(
            size=self.model.image_size, crop_fraction=data.crop_fraction, flip=data.flip
        )

    def _make_source(self, split: str) -> Source:
        data = self.data
        if data.source == IMAGES:
            require(bool(data.root), "config.data.root is empty: name the folder of your images")
            fields = {"train_split": data.train_split, "holdout": data.holdout}
            images = ImageFolder(data.root, split, **fields)
            what = "train" if split == data.train_split else "evaluate"
            logging.info("to %s on: %s", what, images.summary)
            return images
        fields = {"name": data.name, "root": data.root, "data_dir": data.data_dir}
        fields |= {"train_split": data.train_split, "holdout": data.holdout}
        return make_source(data.source, split=split, **fields)


def _sheet(images: np.ndarray) -> np.ndarray:
    return captioned_sheet(images, [""] * len(images), side=max(64, images.shape[1]))
