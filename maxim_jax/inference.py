"""Restoring one image of any size: padding, self-ensemble and tiles (MAXIM's official inference).

The model takes multiples of 64 only. As the official pipeline does, an image is first made even by
reflection at its bottom and right, then padded by reflection to multiples of 64, half on each side;
the result is cropped back.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from common.compiled import announcing, sides
from common.config import require
from common.errors import UserError, nearest_valid
from common.program import BATCH, Input, Program, multiples_of
from common.whole_images import PaddedSizes

OFFICIAL_MULTIPLE = 64  # whatever the model would take: borders are then the official ones


def restore_images(model: nn.Module, variables: dict, images: jax.Array) -> jax.Array:
    """The program that evaluation, `Restorer` and export share.

    Args:
      model: maps images to a tuple over stages of tuples over scales, finest first.
      variables: of the model.
      images: `[batch, height, width, 3]`; whole numbers are of 255, floats of one.

    Returns:
      float32, the same shape, of one, not clipped.
    """
    scale = 255.0 if jnp.issubdtype(images.dtype, jnp.integer) else 1.0
    return model.apply(variables, images.astype(jnp.float32) / scale, train=False)[-1][0]


def restorer_program(
    model: nn.Module, variables: dict, size: tuple[int, int] | None = None
) -> Program:
    """Returns the program of a model for other runtimes.

    Args:
      model: as for `Restorer`.
      variables: of the model.
      size: height and width of photos; None: all multiples of what the model needs.
    """
    sides = size or multiples_of((model.size_multiple,) * 2)
    padding = {"multiple": OFFICIAL_MULTIPLE, "mode": "reflect", "place": "half on each side"}

    def run(variables: dict, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {"restored": restore_images(model, variables, inputs["input"])}

    return Program(
        run=run,
        variables=variables,
        inputs={"input": Input((BATCH, *sides, 3), "float32", "RGB, 0..1")},
        outputs={"restored": "float32, of the input's shape: 0..1, not clipped"},
        info={"preprocessing": {"padding": padding}},
    )


class Restorer:
    """Restores images one at a time; compiles once per size that the model sees: `compiled`.

    With `tile`, an image larger than that is restored in overlapping tiles of this side, which are
    blended with raised-cosine weights. The device then never holds more than one tile. The result
    differs from the untiled one: a model's grid mixing spans what it is given, and its channel
    attention averages over it.

    With `few_sizes`, photos are padded further, so that those of all sizes share few programs:
    compiling for many sizes takes longer than restoring. The model sees more padding than the
    official one, and by its grid mixing the whole result differs a little.

    With `ensemble`, a result is the mean over the image's four rotations (4), or those and the
    rotations of its mirror image (8), one view at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: dict,
        *,
        tile: int | None = None,
        overlap: int = 64,
        ensemble: int = 1,
        few_sizes: bool = False,
    ):
        """Puts the variables on the device.

        Args:
          model: maps images `[1, height, width, 3]` to a tuple over stages of tuples over scales,
            finest first; has a `size_multiple`.
          variables: of the model.
          tile: side of a tile in pixels; None restores every image whole.
          overlap: least number of pixels that neighbouring tiles share.
          ensemble: number of views: 1, 4 or 8.
          few_sizes: pad to sizes of `common.whole_images.PaddedSizes` that are few.

        Raises:
          UserError: no such ensemble, a tile side the model can't take, or an overlap of more than
            half a tile.
        """
        multiple = math.lcm(OFFICIAL_MULTIPLE, model.size_multiple)
        require(ensemble in (1, 4, 8), f"ensemble {ensemble}: 1, 4 or 8 views")
        if tile is not None:
            require(
                tile > 0 and tile % multiple == 0,
                f"tile {tile} is no multiple of {multiple}; {nearest_valid(tile, multiple)}",
            )
            require(
                0 <= overlap <= tile // 2,
                f"overlap {overlap} is not between 0 and half a tile, {tile // 2}",
            )
        self.compiled: set[tuple[int, int]] = set()
        self._sizes = PaddedSizes(multiple, few=few_sizes)
        self._tile, self._overlap = tile, overlap
        self._ensemble = ensemble
        self._variables = jax.device_put(variables)

        run = jax.jit(partial(restore_images, model))
        self._run = announcing(run, lambda _, images: f"the model for {sides(images)}")

    def __call__(
        self, image: np.ndarray, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> np.ndarray:
        """Restores an image.

        Args:
          image: float32 `[height, width, 3]` in 0..1.
          progress: called after every tile with how many are done, of how many.

        Returns:
          float32 `[height, width, 3]`, not clipped.

        Raises:
          UserError: the device's memory does not suffice, or the result is not finite.
        """
        padded, inside = pad_image(image, self._sizes)
        height, width = padded.shape[:2]
        if self._tile and max(height, width) > self._tile:
            restored = self._restore_tiles(padded, progress)
        else:
            restored = self._restore(padded)
        require(
            bool(np.isfinite(restored).all()),
            "the result is not finite: are these weights trained? try float32",
        )
        return restored[inside]

    def _restore_tiles(self, image: np.ndarray, progress: Callable[[int, int], None]) -> np.ndarray:
        (rows, row_weights), (columns, column_weights) = (
            _tiling(side, self._tile, self._overlap) for side in image.shape[:2]
        )
        restored, done = np.zeros_like(image), 0
        for y, wy in zip(rows, row_weights, strict=True):
            for x, wx in zip(columns, column_weights, strict=True):
                part = np.s_[y : y + len(wy), x : x + len(wx)]
                restored[part] += self._restore(image[part]) * (wy[:, None, None] * wx[:, None])
                done += 1
                progress(done, len(rows) * len(columns))
        return restored

    def _restore(self, image: np.ndarray) -> np.ndarray:
        """The mean over the views of an image whose sides the model takes."""
        total = np.zeros_like(image)
        for view in range(self._ensemble):
            mirrored, turns = divmod(view, 4)
            step = -1 if mirrored else 1
            result = self._apply(np.rot90(image[:, ::step], turns))
            total += np.rot90(result, -turns)[:, ::step]
        return total / self._ensemble

    def _apply(self, image: np.ndarray) -> np.ndarray:
        self.compiled.add(image.shape[:2])
        try:
            return np.asarray(self._run(self._variables, image[None]))[0]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            height, width = image.shape[:2]
            raise UserError(
                f"{width}x{height} pixels at once need more memory than there is:"
                f" use tiles{' smaller than that' if self._tile else ', such as 512'}"
            ) from error


def pad_image(image: np.ndarray, sizes: PaddedSizes) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Pads an image the official way.

    Args:
      image: `[height, width, channels]`.
      sizes: what it is padded to.

    Returns:
      The padded image, and where the image is in it.
    """
    sides = image.shape[:2]
    # NumPy's reflection goes on when the padding is larger than the image.
    even = np.pad(image, [(0, side % 2) for side in sides] + [(0, 0)], "reflect")
    targets = sizes(*even.shape[:2])
    halves = [(target - side) // 2 for target, side in zip(targets, even.shape[:2], strict=True)]
    padded = np.pad(even, [(half, half) for half in halves] + [(0, 0)], "reflect")
    inside = tuple(slice(half, half + side) for half, side in zip(halves, sides, strict=True))
    return padded, inside


def _tiling(side: int, tile: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Places tiles evenly along an axis.

    Returns:
      Where each begins, int `[tiles]`; and float32 weights `[tiles, length]`, which add up to one
      at every pixel.
    """
    length = min(side, tile)
    count = 1 if side <= tile else 1 + math.ceil((side - tile) / (tile - overlap))
    starts = np.arange(count) * (side - length) // max(count - 1, 1)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))
    weights, total = np.ones((count, length)), np.zeros(side)
    weights[1:, :overlap] = ramp
    weights[:-1, length - overlap :] *= ramp[::-1]
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + length] += weight
    for start, weight in zip(starts, weights, strict=True):
        weight /= total[start : start + length]
    return starts, np.float32(weights)
