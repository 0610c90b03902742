"""What happens to one pair between the source and the batch: crops, flips, degradations.

Small and importing little: worker processes load it on start.
"""

import dataclasses
import zlib

import numpy as np

from common.data.crops import image_size, read_crop
from common.data.degradations import Degradation
from common.data.images import CorruptImage
from common.data.pairs import Pair
from common.errors import UserError

_EVAL_SEED = 0  # every evaluation degrades alike, whatever the run's own seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainPair:
    """The same random crop of input and target, flipped and turned alike.

    Called with a pair and a generator, returns `input` and `target` `[size, size, 3]`: uint8, but
    `input` float32 (0..1, or beyond) when it is degraded here. Degradations come last, so that rain
    falls downwards and only the crop has to be degraded. Images smaller than the crop are mirrored
    at the bottom and the right as often as it takes.

    Attributes:
      size: side in pixels.
      flip: mirror half of the pairs left to right, and half upside down.
      rotate: turn by a random multiple of 90 degrees.
      degrade: applied to the input, or to the clean image where there is no input.
    """

    size: int
    flip: bool
    rotate: bool
    degrade: Degradation | None = None

    def __call__(self, example: Pair, rng: np.random.Generator) -> dict[str, np.ndarray]:
        height, width = _common_size(example)
        rows, columns = min(self.size, height), min(self.size, width)
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        images = _read(example, int(top), int(left), rows, columns)
        left_right, upside_down = rng.integers(2, size=2) if self.flip else (0, 0)
        turns = int(rng.integers(4)) if self.rotate else 0
        for key, image in images.items():
            image = _fill(image, self.size)
            image = image[:, ::-1] if left_right else image
            image = image[::-1] if upside_down else image
            images[key] = np.ascontiguousarray(np.rot90(image, turns))
        return _degraded(images, self.degrade, rng)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalPair:
    """The central crop of input and target, or all of them, without chance.

    Called with a pair, returns `input` and `target` `[size, size, 3]` as `TrainPair`, and `size`,
    int32 `[2]`: height and width of what is photo; the rest, at the bottom and the right, is
    mirrored. The whole image is degraded, with a seed from its name, so that any crop of it sees
    the same degradation in every evaluation.

    Attributes:
      size: side in pixels; None keeps the whole image, `[height, width, 3]`.
      degrade: applied to the input, or to the clean image where there is no input.
    """

    size: int | None
    degrade: Degradation | None = None

    def __call__(self, example: Pair) -> dict[str, np.ndarray]:
        height, width = _common_size(example)
        rows, columns = min(self.size or height, height), min(self.size or width, width)
        box = (height - rows) // 2, (width - columns) // 2, rows, columns
        if self.degrade:
            rng = np.random.default_rng([_EVAL_SEED, zlib.crc32(example["name"].encode())])
            images = _degraded(_read(example, 0, 0, height, width), self.degrade, rng)
            images = {key: _cut(image, *box) for key, image in images.items()}
        else:
            images = _degraded(_read(example, *box), self.degrade, None)
        if self.size is not None:
            images = {key: _fill(image, self.size) for key, image in images.items()}
        return images | {"size": np.array([rows, columns], np.int32)}


def _common_size(example: Pair) -> tuple[int, int]:
    sizes = {key: image_size(example[key]) for key in ("input", "target") if key in example}
    if len(set(sizes.values())) > 1:
        (a, b), (c, d) = sizes["input"], sizes["target"]
        raise CorruptImage(f"input is {b}x{a}, target {d}x{c}")
    return sizes["target"]


def _read(example: Pair, *box: int) -> dict[str, np.ndarray]:
    return {key: read_crop(example[key], *box) for key in ("input", "target") if key in example}


def _cut(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _fill(image: np.ndarray, size: int) -> np.ndarray:
    """Mirrors an image at the bottom and the right up to `size`; NumPy repeats if need be."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, size - height), (0, size - width), (0, 0)), mode="reflect")


def _degraded(
    images: dict[str, np.ndarray], degrade: Degradation | None, rng: np.random.Generator | None
) -> dict[str, np.ndarray]:
    """Input and target, the first degraded if so wanted, or made of the second."""
    if "input" not in images and not degrade:
        raise UserError("clean photos need something to undo; set config.data.degradations")
    source = images.get("input", images["target"])
    if degrade:
        source = degrade(source.astype(np.float32) / 255, rng).astype(np.float32, copy=False)
    return {"input": source, "target": images["target"]}
