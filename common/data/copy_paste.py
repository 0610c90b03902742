"""Copy-paste: objects of another image on this one (arXiv:2012.07177), before anything else.

It takes masks and whole images, so it comes before the transform and not where batches are mixed.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from common.data.detection import DetectionExample, DetectionSource
from common.data.detection_transform import decoded, mask_bounds
from common.data.images import CorruptImage
from common.data.resized_crops import bilinear_crop, fit_factor, nearest_crop, scaled_size
from common.errors import UserError

_CHOSEN = 0.5  # of another image's objects


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyPaste:
    """Pastes objects of a random other image before a transform such as `TrainDetection`.

    The other image is scaled, flipped and laid somewhere on the first; each of its objects, but no
    crowd, is pasted with a chance of one half. What is pasted hides what is below; objects of which
    too little is left to be seen are left out, as are pasted ones without a pixel.

    Attributes:
      transform: called with the example and a generator.
      source: where other images come from; it has masks.
      probability: share of the images that others are pasted on.
      scale: smallest and largest size of the other image, 1: the largest that fits the first.
      least_visible: share of its pixels that an object keeps at least, or is left out.

    Raises:
      UserError: a source without masks, or a number out of range.
    """

    transform: Callable[[DetectionExample, np.random.Generator], dict[str, np.ndarray]]
    source: DetectionSource
    probability: float = 0.5
    scale: tuple[float, float] = (0.1, 2.0)
    least_visible: float = 0.1

    def __post_init__(self):
        if not self.source.has_masks:
            raise UserError("copy-paste needs masks, which the data lacks; leave it out")
        for name in ("probability", "least_visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)} is no share; choose from 0 to 1")
        least, most = self.scale
        if not 0 < least <= most:
            raise UserError(f"scale={self.scale} is no range of factors; such as (0.1, 2.0)")

    def __call__(
        self, example: DetectionExample, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        if rng.random() < self.probability:
            try:
                other = self._laid(self.source[int(rng.integers(len(self.source)))], example, rng)
            except CorruptImage:  # the pipeline would blame the first image
                other = None
            if other is not None:
                example = paste(example, other, self.least_visible)
        return self.transform(example, rng)

    def _laid(
        self, other: DetectionExample, example: DetectionExample, rng: np.random.Generator
    ) -> DetectionExample:
        """Chosen objects of another image, on a canvas of the first one's size."""
        image, canvas = decoded(other), example["masks"].shape[1:]
        shape = image.shape[:2]
        full = scaled_size(shape, rng.uniform(*self.scale) * fit_factor(shape, canvas))
        crop = min(canvas[0], full[0]), min(canvas[1], full[1])
        top, left = (int(rng.integers(a - b + 1)) for a, b in zip(full, crop, strict=True))
        down, across = (int(rng.integers(a - b + 1)) for a, b in zip(canvas, crop, strict=True))
        turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
        chosen = np.flatnonzero(~other["crowd"] & (rng.random(len(other["labels"])) < _CHOSEN))
        masks = np.zeros((len(chosen), *canvas), bool)
        pixels = np.zeros((*canvas, 3), np.uint8)
        place = slice(down, down + crop[0]), slice(across, across + crop[1])
        parts = nearest_crop(other["masks"][chosen], full, top, left, crop)
        masks[:, *place] = parts[:, :, turn]
        pixels[place] = bilinear_crop(image, full, top, left, crop)[:, turn]
        return other | {
            "image": pixels,
            "masks": masks,
            "labels": other["labels"][chosen],
            "crowd": other["crowd"][chosen],
        }


def paste(
    example: DetectionExample, other: DetectionExample, least_visible: float
) -> DetectionExample:
    """Returns an example with another's objects in front.

    Args:
      example: with masks.
      other: pixels and masks of the same size; its boxes don't count.
      least_visible: share of its pixels that an object of `example` keeps, or is left out.
    """
    image, hidden = decoded(example), other["masks"].any(0)
    masks = example["masks"] & ~hidden
    before, after = (values.sum((1, 2)) for values in (example["masks"], masks))
    left = (after > 0) & (after >= least_visible * before)
    new = other["masks"].any((1, 2))
    masks = np.concatenate([masks[left], other["masks"][new]])
    joined = {
        key: np.concatenate([example[key][left], other[key][new]]) for key in ("labels", "crowd")
    }
    return (
        example
        | joined
        | {
            "image": np.where(hidden[..., None], other["image"], image),
            "masks": masks,
            "boxes": mask_bounds(masks).astype(np.float32),
        }
    )
