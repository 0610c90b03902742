"""Segmenting photos of any size, from a notebook or a script.

model, variables = segmenters.load_pretrained("poolformer_s12+semantic_fpn", "runs/seg")
segmenter = Segmenter(model, variables, Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD))
label_map, confidence = segmenter(photo)  # of the photo's size
"""

import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.data.images import CorruptImage, decode
from common.data.label_map_transform import fitted_size, resize_image
from common.data.preprocess import normalize
from common.errors import UserError, nearest_valid
from common.layers.resize import bilinear, bilinear_weights
from common.whole_images import PaddedSizes
from maxvit_jax.segmenter_info import Preparation

Image = np.ndarray | bytes | str | os.PathLike  # or what NumPy makes an array of: Pillow's, JAX's
_MULTIPLE = 32  # official protocols round sides up to it


class Segmentation(NamedTuple):
    """One photo's classes.

    Attributes:
      label_map: uint8 `[height, width]`.
      confidence: float32 `[height, width]`, the probability of that class.
    """

    label_map: np.ndarray
    confidence: np.ndarray


def map_logits(
    model: nn.Module, data: Any, variables: Mapping[str, Any], images: Array, sizes: Array
) -> Array:
    """The program that evaluation, `Segmenter` and export share.

    Args:
      model: a segmentation model.
      data: has `mean` and `std`, per channel on the 0..255 scale.
      variables: of the model.
      images: `[batch, height, width, channels]`, values 0..255.
      sizes: int `[batch, 2]`: height and width of what is image; the rest, at the bottom and the
        right, is padding, whatever its values.

    Returns:
      float32 `[batch, height / stride, width / stride, classes]`.
    """
    return model.apply(variables, normalized(data, images, sizes), train=False)


def normalized(data: Any, images: Array, sizes: Array) -> Array:
    """Normalises images; padding becomes zeros. Arguments as of `map_logits`."""
    rows = jnp.arange(images.shape[1]) < sizes[:, :1]
    columns = jnp.arange(images.shape[2]) < sizes[:, 1:]
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside, normalize(images, data.mean, data.std), 0)


class Segmenter:
    """Gives every pixel of a photo a class; compiles once per padded size: `compiled`.

    Photos are padded to few sizes, at the bottom and the right, as each size is compiled;
    `few_sizes=False` pads to the next multiple of 32 alone, as official evaluations round.

    With `tile`, a photo is looked at through a sliding window, whose logits are averaged where
    windows overlap. The device then never holds more than one window, and of a photo that is not
    resized no more than a strip of windows is held at all.

    With `scales` and `flip`, probabilities are averaged over the photo at several sizes, and over
    their mirror images.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        data: Preparation,
        class_names: Sequence[str] | None = None,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        tile: int | None = None,
        overlap: int | None = None,
        few_sizes: bool = True,
    ):
        """Puts the variables on the device.

        Args:
          model: a segmentation model.
          variables: of the model.
          data: how photos are prepared, see `Preparation`.
          class_names: one per class.
          scales: of the prepared photo.
          flip: look at the mirror image too.
          tile: side of the sliding window in pixels; None looks at the whole photo.
          overlap: least number of pixels that neighbouring windows share; a third unless given.
          few_sizes: pad to sizes of `common.whole_images.PaddedSizes` that are few.

        Raises:
          UserError: another number of names than classes, or windows that the model can't take.
        """
        only = model.only_size
        if only and tile is None:
            tile = only[0]
        multiple = math.lcm(_MULTIPLE, model.size_multiple)
        if tile is not None:
            fits = tile > 0 and tile % model.size_multiple == 0 and only in (None, (tile, tile))
            takes = f"the model takes {only[0]}x{only[1]} alone" if only else ""
            takes = takes or nearest_valid(tile, model.size_multiple)
            require(fits, f"tile {tile}: {takes}")
            overlap = tile // 3 if overlap is None else overlap
            require(0 <= overlap < tile, f"overlap {overlap} is not in 0 to {tile - 1}")
        require(bool(scales) and min(scales) > 0, f"scales {scales}: positive numbers are needed")
        named = class_names is None or len(class_names) == model.num_classes
        require(named, f"{len(class_names or ())} class names for {model.num_classes} classes")
        self.class_names, self.num_classes = class_names, model.num_classes
        self.compiled: set[tuple[int, ...]] = set()
        self._sizes = PaddedSizes(multiple, few=few_sizes)
        self._canvases = PaddedSizes(_MULTIPLE, few=True)  # of results: padding can't touch them
        self._data, self._tile, self._overlap = data, tile, overlap
        self._views = [
            (scale, mirrored) for scale in scales for mirrored in (False, True)[: 1 + flip]
        ]
        self._variables = jax.device_put(variables)

        @jax.jit
        def window(variables: Mapping[str, Any], image: Array, size: Array) -> Array:
            logits = map_logits(model, data, variables, image[None], size[None])
            return bilinear(logits, *image.shape[:2])[0]

        @functools.partial(jax.jit, donate_argnums=1)
        def add(
            variables: Mapping[str, Any],
            sums: Array,
            image: Array,
            size: Array,
            out: Array,
            mirrored,
        ) -> Array:
            logits = map_logits(model, data, variables, image[None], size[None])[0]
            # Of a map at any stride: where image pixels lie among its positions.
            pitch = np.array(logits.shape[:2]) / image.shape[:2]
            return sums + _probabilities(logits, size * pitch, out, sums.shape[:2], mirrored)

        @functools.partial(jax.jit, donate_argnums=0)
        def add_map(sums: Array, logits: Array, size: Array, out: Array, mirrored: Array) -> Array:
            return sums + _probabilities(logits, size, out, sums.shape[:2], mirrored)

        @jax.jit
        def best(sums: Array) -> tuple[Array, Array]:
            return sums.argmax(-1).astype(jnp.uint8), sums.max(-1) / len(self._views)

        self._window, self._add, self._add_map, self._best = window, add, add_map, best

    def __call__(self, photo: Image) -> Segmentation:
        """Segments one photo.

        Args:
          photo: uint8 `[height, width, 3]`, or an image file or its content, of any kind and size
            (see `common.data.images.decode`).

        Raises:
          UserError: something that is no image, or a result that is not finite.
        """
        image = self._read(photo)
        if self._tile and self._views == [(1.0, False)] and self._prepared(image, 1.0) is image:
            strips = [_argmax(rows) for rows in self._strips(image)]
            label_map, confidence = (np.concatenate(parts) for parts in zip(*strips, strict=True))
        else:
            height, width = image.shape[:2]
            parts = jax.device_get(self._best(self._sums(image)))
            label_map, confidence = (part[:height, :width] for part in parts)
        _require_finite(confidence)
        return Segmentation(label_map, confidence)

    def probabilities(self, photo: Image) -> np.ndarray:
        """Returns float32 `[height, width, classes]` for one photo; see `__call__`."""
        image = self._read(photo)
        height, width = image.shape[:2]
        result = np.asarray(self._sums(image))[:height, :width] / len(self._views)
        _require_finite(result)
        return result

    def _read(self, photo: Image) -> np.ndarray:
        if isinstance(photo, str | os.PathLike):
            photo = Path(photo).read_bytes()
        try:
            return decode(photo if isinstance(photo, bytes) else np.asarray(photo))
        except CorruptImage as error:
            raise UserError(f"can't segment what is no image: {error}") from error

    def _sums(self, image: np.ndarray) -> Array:
        """Probabilities added up over all views, on a padded canvas."""
        size = np.array(image.shape[:2], np.int32)
        canvas = self._canvases(*image.shape[:2])
        sums = jnp.zeros((*canvas, self.num_classes), jnp.float32)
        for scale, mirrored in self._views:
            x = self._prepared(image, scale)
            x = x[:, ::-1] if mirrored else x
            inner, flag = np.array(x.shape[:2], np.int32), np.bool_(mirrored)
            if self._tile:
                logits = np.concatenate(list(self._strips(x)))
                padded = _padded(logits, self._canvases(*logits.shape[:2]))
                sums = self._run(self._add_map, sums, padded, inner, size, flag)
            else:
                padded = _padded(x, self._sizes(*x.shape[:2]))
                sums = self._run(self._add, self._variables, sums, padded, inner, size, flag)
                self.compiled.add((*padded.shape[:2], *canvas))
        return sums

    def _prepared(self, image: np.ndarray, scale: float) -> np.ndarray:
        """The photo at a scale of the size that the model is for."""
        size = fitted_size(image.shape[:2], self._data.resize, scale)
        if self._data.resize and not self._tile:  # as officially: rounded up, not padded
            size = tuple(-(-side // _MULTIPLE) * _MULTIPLE for side in size)
        return image if size == image.shape[:2] else resize_image(image, size)

    def _strips(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Averaged logits `[rows, width, classes]` of a sliding window, from the top down."""
        tile, (height, width) = self._tile, image.shape[:2]
        tops, lefts = (_starts(side, tile, self._overlap) for side in (height, width))
        sums, first = np.zeros((0, width, self.num_classes), np.float32), 0
        counts = np.zeros((0, width, 1), np.float32)
        for top, following in zip(tops, [*tops[1:], height], strict=True):
            bottom = min(top + tile, height)
            missing = bottom - first - len(sums)
            sums = np.concatenate([sums, np.zeros((missing, *sums.shape[1:]), np.float32)])
            counts = np.concatenate([counts, np.zeros((missing, width, 1), np.float32)])
            for left in lefts:
                part = image[top:bottom, left : left + tile]
                rows, columns = part.shape[:2]
                padded, inner = _padded(part, (tile, tile)), np.array((rows, columns), np.int32)
                logits = np.asarray(self._run(self._window, self._variables, padded, inner))
                place = np.s_[top - first : bottom - first, left : left + columns]
                sums[place] += logits[:rows, :columns]
                counts[place] += 1
            self.compiled.add((tile, tile))
            done = following - first
            yield sums[:done] / counts[:done]
            sums, counts, first = sums[done:], counts[done:], following

    def _run(self, program: Any, *args: Any) -> Array:
        try:
            return jax.block_until_ready(program(*args))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                "a photo at once needs more memory than there is: use tiles"
                f"{' smaller than that' if self._tile else ', such as 512'}"
            ) from error


def _probabilities(
    logits: Array, inner: Array, out: Array, canvas: tuple[int, int], mirrored: Array
) -> Array:
    """Softmax of a map at the pixels of a photo, on a padded canvas.

    Args:
      logits: `[rows, columns, classes]`.
      inner: `[2]`, how many rows and columns of the map the photo takes, fractions too.
      out: int `[2]`, height and width of the photo.
      canvas: of the result.
      mirrored: the map is of the mirror image.
    """
    for axis in (0, 1):
        pixels = jnp.arange(canvas[axis], dtype=jnp.float32)
        if axis == 1:
            pixels = jnp.where(mirrored, out[axis] - 1 - pixels, pixels)
        places = (pixels + 0.5) * (inner[axis] / out[axis]) - 0.5
        weights = bilinear_weights(places, jnp.ceil(inner[axis]), length=logits.shape[axis])
        logits = jnp.tensordot(weights, logits, (1, axis))
        logits = jnp.moveaxis(logits, 0, axis)
    return jax.nn.softmax(logits)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where windows begin along an axis; the last one ends with the photo."""
    if side <= tile:
        return [0]
    count = 1 + math.ceil((side - tile) / (tile - overlap))
    return [min(i * (tile - overlap), side - tile) for i in range(count)]


def _padded(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Zeros at the bottom and the right."""
    widths = [(0, target - side) for target, side in zip(size, x.shape[:2], strict=True)]
    return np.pad(x, [*widths, (0, 0)])


def _argmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best classes `[rows, columns]` and their probabilities."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    confidence = 1 / probabilities.sum(-1)
    return logits.argmax(-1).astype(np.uint8), confidence


def _require_finite(values: np.ndarray) -> None:
    require(bool(np.isfinite(values).all()), "the result is not finite: are these weights trained?")
