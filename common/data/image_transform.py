"""What happens to one image between the source and the batch; what belongs to it passes through.

Small and importing little: worker processes load it on start.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

from common.data import preprocess
from common.data.images import decode, decode_part
from common.data.sources import Example

_PARTS = {
    "inception": preprocess.inception_part,
    "random_resized": preprocess.random_resized_part,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainTransform:
    """Decode, crop, flip, shift, RandAugment.

    Called with an example and a generator, returns `image` uint8 `[height, width, channels]` and
    the example's targets.

    Attributes:
      size: side in pixels, or height and width.
      crop: `"inception"` or `"random_resized"` (random area and aspect, as TensorFlow or
        torchvision draws them), or `"resize"` (the whole image).
      min_area: smallest share of the image that a random crop keeps.
      interpolation: of the resize; `"random"`: bilinear or bicubic.
      flip: mirror half of the images left to right.
      shift: move by up to that many pixels.
      randaugment: of RGB or gray, applied last; None: not at all.
      channels: of images, see `common.data.images.decode`.
    """

    size: int | tuple[int, int]
    crop: Literal["inception", "random_resized", "resize"]
    min_area: float
    interpolation: str
    flip: bool
    shift: int
    randaugment: Callable[[np.ndarray | Image.Image, np.random.Generator], np.ndarray] | None
    channels: int = 3

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        interpolation = preprocess.draw_interpolation(self.interpolation, rng)
        if self.crop == "resize":
            image = decode(example["image"], channels=self.channels)
            image = preprocess.resize_only(image, self.size, interpolation)
        else:
            draw = functools.partial(
                _PARTS[self.crop], size=self.size, rng=rng, area=(self.min_area, 1.0)
            )
            # What isn't antialiased would look different, so it is read exactly.
            is_exact = interpolation == "legacy_bicubic"
            enough = None if is_exact else preprocess.height_width(self.size)
            part, box = decode_part(example["image"], draw, size=enough, channels=self.channels)
            image = preprocess.resize_part(part, self.size, interpolation, box)
        if self.flip:
            image = preprocess.random_flip(image, rng)
        if self.shift:
            image = preprocess.random_shift(np.asarray(image), rng, self.shift)
        if self.randaugment:
            image = image if self.channels == 3 else decode(image)
            image = decode(self.randaugment(image, rng), channels=self.channels)
        return {"image": np.ascontiguousarray(image), **targets(example)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalTransform:
    """Decode and resize without randomness.

    Called with an example, returns `image` `[height, width, channels]`, values 0..255 (float32 for
    `"official"`, uint8 otherwise), and the example's targets.

    Attributes:
      size: side in pixels, or height and width.
      method: `"official"` (TensorFlow 1's bicubic on the central square), `"standard"` (resize the
        shorter side, crop the centre) or `"resize"` (the whole image).
      crop_fraction: of `"standard"`.
      interpolation: of `"standard"` and `"resize"`.
      channels: of images, see `common.data.images.decode`.
    """

    size: int | tuple[int, int]
    method: Literal["official", "standard", "resize"]
    crop_fraction: float
    interpolation: str
    channels: int = 3

    def __call__(self, example: Example) -> dict[str, np.ndarray]:
        image = decode(example["image"], channels=self.channels)
        if self.method == "official":
            image = preprocess.eval_official(image, self.size)
        elif self.method == "standard":
            image = preprocess.eval_standard(
                image, self.size, self.crop_fraction, self.interpolation
            )
        else:
            image = preprocess.resize_only(image, self.size, self.interpolation)
        return {"image": np.ascontiguousarray(image), **targets(example)}


def targets(example: Example) -> dict[str, np.ndarray]:
    """Returns what an example holds beside its image and name; numbers as 32-bit ones."""
    found = {}
    for key, value in example.items():
        if key not in ("image", "name"):
            array = np.asarray(value)
            narrow = {"i": np.int32, "f": np.float32}.get(array.dtype.kind)
            wide = array.dtype.itemsize > 4 and narrow
            found[key] = array.astype(narrow)[()] if wide else array[()]
    return found
