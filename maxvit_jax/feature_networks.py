"""What features of images are by which made ones are compared with real ones, and their names.

A number means something beside its network's name and digest alone, so both are kept with it.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

import maxvit_jax
from common.config import require
from common.data.preprocess import height_width
from common.weights.mapping import flatten
from common.weights.readers import read_arrays
from maxvit_jax.data_defaults import data_of_weights
from maxvit_jax.inception import inception, inception_weights
from maxvit_jax.inference import class_logits
from maxvit_jax.weights.classifier import CLASSIFIER

_PIXELS = 8  # side of the images that are features where there is no network


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """Features of images.

    Attributes:
      name: of the network, for people.
      sha256: of its weights; "" where there are none.
      has_logits: it tells classes too.
      is_inception: it is that of FID's authors.
      run: `(variables, images)` to features and logits, compiled.
      variables: of the network.
    """

    name: str
    sha256: str
    has_logits: bool
    is_inception: bool
    run: Callable[[Any, Array], tuple[Array, Array | None]]
    variables: Any

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns features `[batch, n]` and logits `[batch, classes]`, or None, of uint8 images."""
        return jax.device_get(self.run(self.variables, images))

    def __deepcopy__(self, memo: dict) -> "FeatureNetwork":
        """Weights are not copied with an evaluator."""
        return self

    @property
    def description(self) -> dict[str, str]:
        """What stands beside its numbers."""
        return {"name": self.name} | ({"sha256": self.sha256} if self.sha256 else {})


def feature_network(path: str) -> FeatureNetwork:
    """Returns the features that a config names.

    Args:
      path: a classifier's run or directory of `save_pretrained`: what its last dense layer sees,
        and its logits. A file with the weights of FID's Inception network: see
        `maxvit_jax.inception`. "": the pixels of images reduced to 8x8.

    Raises:
      UserError: it can't be read, or is none of these.
    """
    if not path:
        run = jax.jit(lambda _, images: (_small_pixels(images), None))
        return FeatureNetwork(f"pixels at {_PIXELS}x{_PIXELS}", "", False, False, run, None)
    return _inception(path) if maxvit_jax.weight_path(path).is_file() else _classifier(path)


def _inception(path: str) -> FeatureNetwork:
    file = maxvit_jax.weight_path(path)
    weights = inception_weights(read_arrays(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    run = jax.jit(inception)
    return FeatureNetwork(f"FID's Inception network, {file.name}", digest, True, True, run, weights)


def _classifier(path: str) -> FeatureNetwork:
    name = maxvit_jax.model_of(path)
    require(bool(name), f"config.task.features={path} is no classifier; name a run of one")
    model, variables = maxvit_jax.load_pretrained(name, path)
    require(model.num_classes > 0, f"{path} has no classifier: num_classes=0")
    data, _ = data_of_weights(name, path)
    digest = hashlib.sha256()
    for key, array in sorted(flatten(variables).items()):
        digest.update(key.encode() + np.asarray(array).tobytes())

    def run(variables: Mapping[str, Any], images: Array) -> tuple[Array, Array]:
        images = resized(images, data.image_size)
        found = []

        def look(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            if "/".join(context.module.path) == CLASSIFIER and context.method_name == "__call__":
                found.append(args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(look):
            logits = class_logits(model, data, variables, images)
        return found[0].reshape(len(images), -1).astype(jnp.float32), logits

    label = f"{name} of {path}"
    variables = jax.device_put(variables)
    return FeatureNetwork(label, digest.hexdigest(), True, False, jax.jit(run), variables)


def resized(images: Array, size: int | tuple[int, ...]) -> Array:
    """Resizes images `[batch, height, width, channels]` to a side, or a height and width, bilinear
    and antialiased; gray ones get three channels. Returns float32, 0..255."""
    images = images.astype(jnp.float32)
    if images.shape[-1] == 1:
        images = jnp.repeat(images, 3, axis=-1)
    shape = (len(images), *height_width(size), images.shape[-1])
    return images if images.shape == shape else jax.image.resize(images, shape, "bilinear")


def _small_pixels(images: Array) -> Array:
    small = resized(images, _PIXELS) / 255
    return small.reshape(len(images), -1)
