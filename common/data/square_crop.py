"""A square part of an image, at one size: what generators learn to make.

Small and importing little: worker processes load it on start.
"""

import dataclasses

import numpy as np

from common.data import preprocess
from common.data.image_transform import targets
from common.data.images import decode
from common.data.sources import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquareCrop:
    """Decode, crop, resize (bicubic, antialiased), flip.

    Called with an example and a generator, or with the example alone: then the central part is
    taken and nothing flipped. Returns `image` uint8 `[size, size, 3]` and the example's targets.

    Attributes:
      size: side in pixels.
      crop_fraction: side of the part over the image's shorter side.
      flip: mirror half of the images left to right.
    """

    size: int
    crop_fraction: float
    flip: bool

    def __call__(
        self, example: Example, rng: np.random.Generator | None = None
    ) -> dict[str, np.ndarray]:
        image = decode(example["image"])
        side = max(1, round(self.crop_fraction * min(image.shape[:2])))
        room = [length - side for length in image.shape[:2]]
        top, left = [r // 2 for r in room] if rng is None else rng.integers(np.add(room, 1))
        image = preprocess.resize_only(
            image[top : top + side, left : left + side], self.size, "bicubic"
        )
        if self.flip and rng is not None:
            image = preprocess.random_flip(image, rng)
        return {"image": np.ascontiguousarray(image), **targets(example)}
