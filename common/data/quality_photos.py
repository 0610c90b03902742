"""Photos that are spoilt by a known amount: what quality can be learned from without a download.

Crops of scikit-image's photos under noise, blur, JPEG compression or too little light. How much
decides on the scores: each crop is a function of (seed, index). Photos of the test split are never
seen in training.
"""

import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from common.data.degradations import DefocusBlur, GaussianNoise, LowLight
from common.data.images import decode
from common.data.pairs import photos_source
from common.data.quality_files import ScoredExample
from common.data.score_distributions import from_moments
from common.data.shapes import photo_textures
from common.errors import UserError, did_you_mean

LEAST_SIZE, MOST_SIZE = 32, 128  # the smallest photo is 150 pixels high
_COUNTS = {"train": 2000, "test": 300}
_SEEDS = {"train": 0, "test": 1}
_SPREAD = 0.15  # standard deviation of the scores, of their range: 1.35 for 1 to 10
_TRIES = 4  # crops, of which the one with most detail is taken: a blurred sky is a sky
# How many times crops are shrunk: smaller things are sharp, so that blur is what was added.
_SHRINK = (1.5, 3.0)


def _noise(strength: float) -> GaussianNoise:
    return GaussianNoise(sigma=60 * strength)


def _blur(strength: float) -> DefocusBlur:
    return DefocusBlur(radius=0.5 + 4.5 * strength)


def _darkness(strength: float) -> LowLight:
    # A dark photo is noisy too: that tells it from a photo of something dark.
    return LowLight(exposure=0.02**strength, photons=2000.0, read_noise=3.0)


def _jpeg(strength: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        data = io.BytesIO()
        quality = round(95 * 0.04**strength)
        Image.fromarray(_bytes(image)).save(data, "JPEG", quality=quality)
        return np.float32(decode(data.getvalue())) / 255

    return compress


KINDS = {"noise": _noise, "blur": _blur, "jpeg": _jpeg, "darkness": _darkness}


class SpoiltPhotos:
    """Spoilt crops; see `common.data.quality.QualitySource`.

    A strength, uniform in 0..1, becomes the mean score: 0 the highest, 1 the lowest. The scores are
    spread about it as `from_moments` does.

    Args:
      split: "train" or "test": crops and photos of their own.
      scores: values of the distributions' entries.
      count: crops; None: 2,000 or 300.
      size: side in pixels, 32 to 128.

    Raises:
      UserError: another split, no scikit-image, or a number out of range.
    """

    problems: dict[str, list[str]] = {}

    def __init__(
        self, split: str, scores: Sequence[float], count: int | None = None, size: int = 64
    ):
        if split not in _COUNTS:
            raise UserError(f"photos have no split {split!r}; {did_you_mean(split, _COUNTS)}")
        if not LEAST_SIZE <= size <= MOST_SIZE:
            nearest = min(max(size, LEAST_SIZE), MOST_SIZE)
            raise UserError(f"crops of size={size} can't be cut; nearest valid: {nearest}")
        count = _COUNTS[split] if count is None else count
        if count < 1:
            raise UserError(f"{count} crops are none; nearest valid: 1")
        self._split, self._size = split, size
        # One stream: the strength of an index does not depend on how many there are.
        self._strengths = np.random.default_rng(_SEEDS[split]).random(count)
        low, high = scores[0], scores[-1]
        mean = high - (high - low) * self._strengths
        std = np.full(count, _SPREAD * (high - low))
        self._distributions = from_moments(mean, std, scores).astype(np.float32)
        photos = len(photos_source(split))  # says so now if scikit-image isn't there
        self.summary = f"{count:,} crops of {photos} photos, spoilt by {', '.join(KINDS)}"

    def __len__(self) -> int:
        return len(self._strengths)

    def __getitem__(self, index: int) -> ScoredExample:
        index = range(len(self))[index]
        return {
            "image": self._crop(index),
            "distribution": self._distributions[index],
            "position": index,
            "name": self.name(index),
        }

    def name(self, index: int) -> str:
        """Returns such as "photos/test/00012_blur_0.73": kind and strength."""
        index = range(len(self))[index]
        kind = [*KINDS][index % len(KINDS)]
        return f"photos/{self._split}/{index:05}_{kind}_{self._strengths[index]:.2f}"

    def _crop(self, index: int) -> np.ndarray:
        rng = np.random.default_rng((_SEEDS[self._split], index))
        photos = photo_textures(self._split)
        photo = photos[int(rng.integers(len(photos)))]
        crops = [_part(photo, self._size, rng) for _ in range(_TRIES)]
        crop = max(crops, key=_detail)
        kind = [*KINDS.values()][index % len(KINDS)]
        return _bytes(kind(self._strengths[index])(np.float32(crop) / 255, rng))


def _part(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    side = min(round(size * rng.uniform(*_SHRINK)), *photo.shape[:2])
    top, left = (int(rng.integers(most - side + 1)) for most in photo.shape[:2])
    crop = photo[top : top + side, left : left + side]
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _detail(crop: np.ndarray) -> float:
    """Mean difference of neighbours."""
    return float(np.abs(np.diff(crop.astype(np.int16), axis=1)).mean())


def _bytes(image: np.ndarray) -> np.ndarray:
    """0..1 as uint8."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
