"""Classifying photos of any size, from a notebook or a script.

model, variables = maxvit_jax.load_pretrained("caformer_s18", "caformer_s18.pth")
classifier = Classifier(model, variables, maxvit_jax.data_defaults("caformer_s18"))
classifier.top(photo)  # [Prediction(index=281, name=None, probability=0.93), ...]
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from PIL.Image import Image as PillowImage

from common.compiled import announcing, sides
from common.config import require
from common.data.given_array import given_array
from common.data.image_files import IMAGE_WANTED
from common.data.image_transform import EvalTransform
from common.data.images import CHANNELS, CorruptImage
from common.data.preprocess import normalize
from common.errors import UserError
from common.regular_files import read_file
from maxvit_jax.data_defaults import DataDefaults

Image = np.ndarray | bytes | str | os.PathLike  # or what NumPy makes an array of: Pillow's, JAX's


class Prediction(NamedTuple):
    """One class of one image; the name is None where names are not known."""

    index: int
    name: str | None
    probability: float


def class_logits(
    model: nn.Module, data: Any, variables: Mapping[str, Any], images: jax.Array
) -> jax.Array:
    """The program that evaluation, `Classifier` and export share.

    Args:
      model: any model of `maxvit_jax` with a classifier.
      data: has `mean` and `std`, per channel on the 0..255 scale.
      variables: of the model.
      images: `[batch, height, width, channels]`, values 0..255.

    Returns:
      float32 `[batch, classes]`.
    """
    return model.apply(variables, normalize(images, data.mean, data.std), train=False)


class Classifier:
    """Turns photos into class probabilities; compiles once, and once more for single images."""

    def __init__(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        data: DataDefaults,
        class_names: Sequence[str] | None = None,
        *,
        batch_size: int = 8,
    ):
        """Puts the variables on the device.

        Args:
          model: any model of `maxvit_jax` with a classifier.
          variables: of the model.
          data: how images are prepared, see `maxvit_jax.data_defaults`.
          class_names: one per class.
          batch_size: images that the model sees at once.

        Raises:
          UserError: the model has no classifier, another number of classes than there are names, or
            takes other images than photos can be.
        """
        classes, channels = model.num_classes, model.in_channels
        require(classes > 0, "the model has no classifier: num_classes=0")
        require(batch_size > 0, f"batch_size={batch_size} must be positive")
        if class_names is not None:
            require(
                len(class_names) == classes,
                f"{len(class_names)} class names for a model with {classes} classes",
            )
        kinds = "photos have 1 (gray), 3 (RGB) or 4 (RGB and alpha)"
        require(channels in CHANNELS, f"the model takes images of {channels} channels; {kinds}")
        numbers = f"mean and std have {len(data.mean)} numbers, the model's images {channels}"
        require(len(data.mean) == channels, f"{numbers} channels: give one each")
        self.class_names = class_names
        self.batch_size = batch_size
        self.num_classes = classes
        self._transform = EvalTransform(
            size=data.image_size,
            method=data.eval_method,
            crop_fraction=data.eval_crop_fraction,
            interpolation=data.interpolation,
            channels=channels,
        )
        self._variables = jax.device_put(variables)

        @jax.jit
        def run(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
            return jax.nn.softmax(class_logits(model, data, variables, images))

        self._run = announcing(run, lambda _, images: f"the model for {sides(images)}")

    def __call__(self, images: Image | Sequence[Image]) -> np.ndarray:
        """Classifies one image or several.

        Args:
          images: uint8 `[height, width, 3]`, an image of Pillow, or the content of an image file
            (also gray, with alpha or of 16 bits, see `common.data.images.decode`); or a sequence of
            these, of any sizes.

        Returns:
          float32 probabilities `[classes]`, for a sequence `[images, classes]`.

        Raises:
          UserError: something that is no image, or a result that is not finite.
        """
        if _is_single(images):
            return self._classify(self._prepare_each([images]))[0]
        parts = [
            self.classify_prepared(self._prepare_each(images[i : i + self.batch_size]))
            for i in range(0, len(images), self.batch_size)
        ]
        return np.concatenate([np.empty((0, self.num_classes), np.float32), *parts])

    def top(
        self, images: Image | Sequence[Image], k: int = 5
    ) -> list[Prediction] | list[list[Prediction]]:
        """Returns the `k` most probable classes, first the best: of one image, or of each."""
        probabilities = self(images)
        if probabilities.ndim == 1:
            return self.best(probabilities, k)
        return [self.best(row, k) for row in probabilities]

    def best(self, probabilities: np.ndarray, k: int = 5) -> list[Prediction]:
        """Returns the `k` largest of the probabilities `[classes]` of one image."""
        order = np.argsort(-probabilities, kind="stable")[:k]
        names = self.class_names
        return [
            Prediction(int(i), names[i] if names else None, float(probabilities[i])) for i in order
        ]

    def prepare(self, image: Image) -> np.ndarray:
        """Decodes, resizes and crops one image as the model wants it, not yet normalised.

        Returns:
          `[image_size, image_size, in_channels]`, values 0..255, uint8 or float32; gray and alpha
          as by `common.data.images.decode`.

        Raises:
          CorruptImage, UserError: something that is no image.
        """
        if isinstance(image, str | os.PathLike):
            image = read_file(image)
        elif not isinstance(image, bytes | PillowImage):
            image = given_array(image, IMAGE_WANTED)
        return self._transform({"image": image, "label": 0, "name": ""})["image"]

    def classify_prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Classifies up to `batch_size` results of `prepare`; returns `[images, classes]`."""
        padding = [np.zeros_like(images[0])] * (self.batch_size - len(images))
        return self._classify([*images, *padding])[: len(images)]

    def _classify(self, images: Sequence[np.ndarray]) -> np.ndarray:
        probabilities = np.asarray(self._run(self._variables, np.stack(images)))
        finite = bool(np.isfinite(probabilities).all())
        require(finite, "the result is not finite: are these weights trained?")
        return probabilities

    def _prepare_each(self, images: Sequence[Image]) -> list[np.ndarray]:
        try:
            return [self.prepare(image) for image in images]
        except CorruptImage as error:
            raise UserError(f"can't classify what is no image: {error}") from error


def _is_single(images: Image | Sequence[Image]) -> bool:
    if isinstance(images, list | tuple):
        return False
    return isinstance(images, bytes | str | os.PathLike) or np.ndim(images) < 4
