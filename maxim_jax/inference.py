"""Restoring one image of any size: padding, self-ensemble and tiles (MAXIM's official inference).

The model takes multiples of 64 only. As the official pipeline does, an image is first made even by
reflection at its bottom and right, then padded by reflection to multiples of 64, half on each side;
the result is cropped back.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Integral
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from common.compiled import announcing, sides
from common.config import require
from common.device_memory import device_memory
from common.errors import UserError, nearest_valid
from common.news import say
from common.program import BATCH, Input, Program, multiples_of
from common.shared_sizes import Size, joined_sizes
from common.whole_images import PaddedSizes
from maxim_jax.given_image import unit_pixels

OFFICIAL_MULTIPLE = 64  # whatever the model would take: borders are then the official ones
_AUTO_TILE = 512  # about
_USABLE = 0.75  # of a device's memory: the rest is for photos, weights and other programs


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
    attention averages over it. With the tile `"auto"`, an image that takes more memory than the
    device has is restored in tiles of 512, all others whole.

    With `few_sizes`, photos are padded further, so that those of all sizes share few programs:
    compiling for many sizes takes longer than restoring. The model sees more padding than the
    official one, and by its grid mixing the whole result differs a little. Where the sizes to come
    are known, `expect` chooses better ones.

    With `ensemble`, a result is the mean over the image's four rotations (4), or those and the
    rotations of its mirror image (8), one view at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: dict,
        *,
        tile: int | Literal["auto"] | None = None,
        overlap: int = 64,
        ensemble: int = 1,
        few_sizes: bool = False,
    ):
        """Puts the variables on the device.

        Args:
          model: maps images `[1, height, width, 3]` to a tuple over stages of tuples over scales,
            finest first; has a `size_multiple`.
          variables: of the model.
          tile: side of a tile in pixels; None restores every image whole, "auto" those that the
            device's memory suffices for.
          overlap: least number of pixels that neighbouring tiles share.
          ensemble: number of views: 1, 4 or 8.
          few_sizes: pad to sizes of `common.whole_images.PaddedSizes` that are few.

        Raises:
          UserError: no such ensemble, a tile side the model can't take, or an overlap of more than
            half a tile.
        """
        multiple = math.lcm(OFFICIAL_MULTIPLE, model.size_multiple)
        require(ensemble in (1, 4, 8), f"ensemble {ensemble}: 1, 4 or 8 views")
        auto = tile == "auto"
        if auto:
            tile = max(1, _AUTO_TILE // multiple) * multiple
        if tile is not None:
            whole = all(isinstance(side, Integral) for side in (tile, overlap))
            require(whole, f"tile {tile!r} and overlap {overlap!r} must be whole numbers")
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
        self._tile, self._tile_if_large = (None, tile) if auto else (tile, None)
        self._overlap = overlap
        self._joined: dict[Size, Size] = {}
        self._too_large = math.inf  # pixels
        self._ensemble = ensemble
        self._variables = jax.device_put(variables)

        run = jax.jit(partial(restore_images, model))
        self._run = announcing(run, lambda _, images: f"the model for {sides(images)}")

    def expect(self, photos: Iterable[Size]) -> None:
        """Plans for photos to come: those whose sizes are alike will share a program.

        They are padded further where that costs less time than compiling, the same way as always:
        by reflection, half on each side. Photos of other sizes are padded as before.

        Args:
          photos: the height and width of every photo.
        """
        parts = Counter()
        for photo in photos:
            padded = self._sizes(*photo)
            tiles = [_tile_count(side, self._tile or side, self._overlap) for side in padded]
            parts[self._part(padded)] += math.prod(tiles)
        self._joined = joined_sizes(parts)

    def compile_ahead(self, photos: Iterable[Size]) -> None:
        """Compiles in threads, in turn, what photos need while those before are restored.

        Args:
          photos: the height and width of every photo, in the order in which they will come.
        """
        seen = dict.fromkeys(self._part(self._padded(*photo)) for photo in photos)
        if self._ensemble > 1:  # rotated too
            seen = dict.fromkeys(size for shape in seen for size in (shape, shape[::-1]))
        self._run.compile_ahead((self._variables, _abstract(*size)) for size in seen)

    def __call__(
        self, image: Any, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> np.ndarray:
        """Restores an image.

        Args:
          image: `[height, width, 3]` or gray, floats in 0..1, uint8 or uint16; see
            `maxim_jax.given_image.unit_pixels`.
          progress: called after every tile with how many are done, of how many.

        Returns:
          float32 `[height, width, 3]`, not clipped.

        Raises:
          UserError: something that is no such image, the device's memory does not suffice, or the
            result is not finite.
        """
        padded, inside = pad_image(unit_pixels(image), self._padded)
        if tile := self._tile_for(*padded.shape[:2]):
            restored = self._restore_tiles(padded, tile, progress)
        else:
            restored = self._restore(padded)
        require(
            bool(np.isfinite(restored).all()),
            "the result is not finite: are these weights trained? try float32",
        )
        return restored[inside]

    def _padded(self, height: int, width: int) -> Size:
        """The sides of an image as the model, or the tiling, gets it."""
        padded = self._sizes(height, width)
        part = self._part(padded)
        # Where tiles cut a side, that of the part is the tile's.
        larger, wider = map(max, padded, self._joined.get(part, part))
        return larger, wider

    def _part(self, padded: Size) -> Size:
        """What the model sees at once of an image of these sides."""
        largest = self._tile or math.inf
        return min(padded[0], largest), min(padded[1], largest)

    def _tile_for(self, height: int, width: int) -> int | None:
        """The side of the tiles of a padded image; None: it is restored whole."""
        tile = self._tile or self._tile_if_large
        if not tile or max(height, width) <= tile:
            return None
        return tile if self._tile or not self._fits(height, width) else None

    def _fits(self, height: int, width: int) -> bool:
        """Whether the device's memory suffices for an image of these sides."""
        if height * width >= self._too_large:
            return False
        program = self._run.compiled(self._variables, _abstract(height, width))
        memory = program.memory_analysis()
        needed = memory.temp_size_in_bytes + memory.output_size_in_bytes
        needed += memory.argument_size_in_bytes
        available = device_memory(jax.devices()[0])
        if needed <= _USABLE * available:
            return True
        self._too_large = height * width
        needed, available = (f"{size / 2**30:.3g} GiB" for size in (needed, available))
        say(
            f"{width}x{height} pixels at once take {needed} of memory, where {available} are:"
            f" in tiles of {self._tile_if_large}"
        )
        return False

    def _restore_tiles(
        self, image: np.ndarray, tile: int, progress: Callable[[int, int], None]
    ) -> np.ndarray:
        (rows, row_weights), (columns, column_weights) = (
            _tiling(side, tile, self._overlap) for side in image.shape[:2]
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


def pad_image(
    image: np.ndarray, sizes: Callable[[int, int], Size]
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Pads an image the official way.

    Args:
      image: `[height, width, channels]`.
      sizes: from an even height and width to those that it is padded to, such as `PaddedSizes`.

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


def _abstract(height: int, width: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, height, width, 3), np.float32)


def _tile_count(side: int, tile: int, overlap: int) -> int:
    return 1 if side <= tile else 1 + math.ceil((side - tile) / (tile - overlap))


def _tiling(side: int, tile: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Places tiles evenly along an axis.

    Returns:
      Where each begins, int `[tiles]`; and float32 weights `[tiles, length]`, which add up to one
      at every pixel.
    """
    length = min(side, tile)
    count = _tile_count(side, tile, overlap)
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
