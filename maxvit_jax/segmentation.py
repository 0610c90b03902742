"""Segmenting photos of any size, from a notebook or a script.

model, variables = segmenters.load_pretrained("poolformer_s12+semantic_fpn", "runs/seg")
segmenter = Segmenter(model, variables, Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD))
label_map, confidence = segmenter(photo)  # of the photo's size
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.compiled import announcing, sides
from common.config import require
from common.data.image_files import Photo, read_photo
from common.data.resized_crops import fitted_size, resize_image
from common.errors import TooLarge, nearest_valid
from common.layers.resize import bilinear, interpolated
from common.whole_images import PaddedSizes
from maxvit_jax.dense_weights import Preparation, normalized

_MULTIPLE = 32  # official protocols round sides up to it
_STRIP_VALUES = 1 << 25  # of probabilities that are held at once
_CANVAS, _POSITIONS = PaddedSizes(32, few=True), PaddedSizes(8, few=True)  # of results


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
    """The program that evaluation, `Segmenter` and `best_classes` share.

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


def best_classes(
    model: nn.Module, data: Any, variables: Mapping[str, Any], images: Array, sizes: Array
) -> dict[str, Array]:
    """The program that evaluation during training and export share; see `map_logits`.

    Returns:
      `label_map`, uint8 `[batch, height, width]`, and `confidence`, float32 of that shape: the best
      class of every pixel, and its probability.
    """
    logits = map_logits(model, data, variables, images, sizes)
    probabilities = jax.nn.softmax(bilinear(logits, *images.shape[1:3]))
    return {
        "label_map": probabilities.argmax(-1).astype(jnp.uint8),
        "confidence": probabilities.max(-1),
    }


class Segmenter:
    """Gives every pixel of a photo a class; compiles for few sizes: `compiled`.

    Photos are padded at the bottom and the right to few sizes, as each is compiled;
    `few_sizes=False` pads to the next multiple of 32 alone, as official evaluations round. Layers
    that average over the map see the padding, so that results differ a little.

    With `tile`, a photo is looked at through a sliding window, whose logits are averaged where
    windows overlap: the network never sees more than one window.

    With `scales` and `flip`, probabilities are averaged over the photo at several sizes, and over
    their mirror images.

    Only the head's maps are held for a whole photo; classes are read off them in strips.
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
          tile: side of the sliding window in pixels; None looks at the whole photo, if the model
            takes more than one size.
          overlap: least number of pixels that neighbouring windows share; a third unless given.
          few_sizes: pad to sizes of `common.whole_images.PaddedSizes` that are few.

        Raises:
          UserError: another number of names than classes, or windows that the model can't take.
        """
        only, multiple = model.only_size, math.lcm(_MULTIPLE, model.size_multiple)
        require(only is None or only[0] == only[1], f"the model takes {only}, which is no square")
        require(tile is not None or overlap is None, f"overlap {overlap} is of windows: give tile")
        tile = only[0] if only and tile is None else tile
        if tile is not None:
            if only:
                require(tile == only[0], f"tile {tile}: the model takes {only[0]}x{only[1]} alone")
            else:
                nearest = nearest_valid(tile, multiple)
                require(tile > 0 and tile % multiple == 0, f"tile {tile}: {nearest}")
            overlap = tile // 3 if overlap is None else overlap
            require(0 <= overlap < tile, f"overlap {overlap} is not in 0 to {tile - 1}")
        positive = bool(scales) and all(math.isfinite(scale) and scale > 0 for scale in scales)
        require(positive, f"scales {tuple(scales)}: positive numbers are needed")
        named = class_names is None or len(class_names) == model.num_classes
        require(named, f"{len(class_names or ())} class names for {model.num_classes} classes")
        self.class_names, self.num_classes = class_names, model.num_classes
        self.compiled: set[tuple[int, ...]] = set()
        self._sizes = PaddedSizes(multiple, few=few_sizes)
        self._data, self._tile, self._overlap, self._only = data, tile, overlap, only
        mirrored = (False, True) if flip else (False,)
        self._views = [(scale, mirror) for scale in scales for mirror in mirrored]
        self._variables = jax.device_put(variables)

        @jax.jit
        def look(variables: Mapping[str, Any], image: Array, size: Array) -> Array:
            return map_logits(model, data, variables, image[None], size[None])[0]

        self._shapes = functools.partial(jax.eval_shape, look)
        self._look = announcing(look, lambda _, image, size: f"the model for {sides(image)}")

    def __call__(self, photo: Photo) -> Segmentation:
        """Segments one photo.

        Args:
          photo: uint8 `[height, width, 3]`, or an image file or its content, of any kind and size
            (see `common.data.images.decode`).

        Raises:
          UserError: something that is no image, or a result that is not finite; `TooLarge` for a
            photo that doesn't fit the memory.
        """
        image = read_photo(photo, "segment")
        strips = [jax.device_get(_best(strip)) for strip in self._strips(image)]
        parts = (np.concatenate(parts) for parts in zip(*strips, strict=True))
        height, width = image.shape[:2]
        return Segmentation(*(part[:height, :width] for part in parts))

    def probabilities(self, photo: Photo) -> np.ndarray:
        """Returns float32 `[height, width, classes]` for one photo; see `__call__`."""
        image = read_photo(photo, "segment")
        height, width = image.shape[:2]
        strips = [np.asarray(strip)[:, :width] for strip in self._strips(image)]
        return np.concatenate(strips)[:height]

    def _strips(self, image: np.ndarray) -> Iterator[Array]:
        """Probabilities `[rows, columns, classes]` of a photo, from the top down.

        They go beyond the photo: to cut that off here would be compiled for every size.
        """
        out = height, width = image.shape[:2]
        maps = [(*self._map(image, scale, mirror), mirror) for scale, mirror in self._views]
        canvas_width = _CANVAS(height, width)[1]
        most = max(_STRIP_VALUES // (canvas_width * self.num_classes), 1)
        rows = min(_CANVAS(height, width)[0], max(1 << most.bit_length() - 1, 8))
        for first in range(0, height, rows):
            total = None
            for logits, inner, mirror in maps:
                where = np.array([*inner, *out, first], np.float32), np.bool_(mirror)
                view = _run(_probabilities, logits, *where, canvas=(rows, canvas_width))
                total = view if total is None else total + view
            yield total / len(maps)

    def _map(
        self, image: np.ndarray, scale: float, mirror: bool
    ) -> tuple[Array, tuple[float, float]]:
        """The head's map of one view, and how many rows and columns of it the photo takes."""
        size = fitted_size(image.shape[:2], self._data.resize, scale)
        if self._data.resize and not self._tile:  # as officially: rounded up, not padded
            size = tuple(-(-side // _MULTIPLE) * _MULTIPLE for side in size)
        x = image if size == image.shape[:2] else resize_image(image, size)
        x = x[:, ::-1] if mirror else x
        padded = self._sizes(*size)
        if self._tile:
            sides = tuple(min(self._tile, side) for side in padded)
            logits, pitch = self._windows(x, (self._tile,) * 2 if self._only else sides)
        else:
            logits = self._logits(x, padded)
            pitch = [a / b for a, b in zip(logits.shape[:2], padded, strict=True)]
        finite = bool(jnp.isfinite(logits).all())
        require(finite, "the result is not finite: are these weights trained?")
        return logits, (size[0] * pitch[0], size[1] * pitch[1])

    def _logits(self, part: np.ndarray, padded: tuple[int, int]) -> Array:
        """The head's map of a part of a photo that is padded to a size."""
        self.compiled.add(padded)
        inside = np.array(part.shape[:2], np.int32)
        return _run(self._look, self._variables, _padded(part, padded), inside)

    def _windows(
        self, image: np.ndarray, window: tuple[int, int]
    ) -> tuple[Array, tuple[float, float]]:
        """The map of a whole photo, averaged over windows; and positions of it per pixel."""
        shape = self._shape_of_map(window)
        strides = [-(-side // count) for side, count in zip(window, shape[:2], strict=True)]
        starts = [
            _starts(side, length, self._overlap, stride)
            for side, length, stride in zip(image.shape[:2], window, strides, strict=True)
        ]
        ends = [s[-1] // d + n for s, d, n in zip(starts, strides, shape[:2], strict=True)]
        sums = np.zeros((*_POSITIONS(*ends), self.num_classes), np.float32)
        counts = np.zeros((*sums.shape[:2], 1), np.float32)
        for top, left in itertools.product(*starts):
            part = image[top : top + window[0], left : left + window[1]]
            y, x = top // strides[0], left // strides[1]
            place = np.s_[y : y + shape[0], x : x + shape[1]]
            sums[place] += np.asarray(self._logits(part, window))
            counts[place] += 1
        pitch = shape[0] / window[0], shape[1] / window[1]
        return jax.device_put(sums / np.maximum(counts, 1)), pitch

    def _shape_of_map(self, window: tuple[int, int]) -> tuple[int, ...]:
        image = jax.ShapeDtypeStruct((*window, 3), np.uint8)
        size = jax.ShapeDtypeStruct((2,), np.int32)
        return self._shapes(self._variables, image, size).shape


@functools.partial(jax.jit, static_argnames="canvas")
def _probabilities(logits: Array, where: Array, mirror: Array, canvas: tuple[int, int]) -> Array:
    """Softmax of a map at a strip of a photo's pixels.

    Args:
      logits: `[rows, columns, classes]`.
      where: how many rows and columns of the map the photo takes, fractions too; height and width
        of the photo; the strip's first row.
      mirror: the map is of the mirror image.
      canvas: rows and columns of the strip; what lies beyond the photo repeats its border.
    """
    pixels = [where[4] + jnp.arange(canvas[0]), jnp.arange(canvas[1], dtype=jnp.float32)]
    pixels[1] = jnp.where(mirror, where[3] - 1 - pixels[1], pixels[1])
    for axis in (0, 1):
        inner, size = where[axis], where[2 + axis]
        places = (pixels[axis] + 0.5) * (inner / size) - 0.5
        logits = interpolated(logits, places, jnp.ceil(inner) - 1, axis)
    return jax.nn.softmax(logits)


@jax.jit
def _best(probabilities: Array) -> tuple[Array, Array]:
    return probabilities.argmax(-1).astype(jnp.uint8), probabilities.max(-1)


def _run(program: Any, *args: Any, **options: Any) -> Array:
    try:
        return jax.block_until_ready(program(*args, **options))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TooLarge("it needs more memory than there is: use (smaller) tiles") from error


def _starts(side: int, window: int, overlap: int, stride: int) -> list[int]:
    """Where windows begin along an axis, multiples of a stride; the last one reaches the end."""
    last = max(-(-(side - window) // stride) * stride, 0)
    step = max((window - overlap) // stride * stride, stride)
    return [*range(0, last, step), last]


def _padded(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Zeros at the bottom and the right."""
    widths = [(0, target - side) for target, side in zip(size, x.shape[:2], strict=True)]
    return np.pad(x, [*widths, (0, 0)])
