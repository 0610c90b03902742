"""How images get from files into a classifier: the part of `config.data` that its jobs share."""

import dataclasses
from typing import Literal

from common.config import require
from common.data import preprocess
from common.data.augment import RandAugment
from common.data.augment_increasing import IncreasingRandAugment
from common.data.image_transform import EvalTransform, TrainTransform
from common.data.images import CHANNELS
from common.task import LoaderConfig
from maxvit_jax.models.backbone import Backbone


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierImages(LoaderConfig):
    """Fields of a config's `data` section.

    Attributes:
      image_size: side in pixels that the model sees, or height and width.
      crop: of training images, `"inception"`, `"random_resized"` or `"resize"`.
      min_area: smallest share of an image that a random crop keeps.
      interpolation: of resizes; `"legacy_bicubic"` is that of MaxViT's release, `"random"` draws
        bilinear or bicubic in training.
      flip: mirror half of the training images.
      shift: move training images by up to that many pixels.
      randaugment: `"tensorflow"`, the original, or `"increasing"`, timm's (DeiT's and its heirs').
      randaugment_layers: operations per training image, 0 for none.
      randaugment_magnitude: their strength.
      eval_method: `"official"`, `"standard"` or `"resize"`.
      eval_crop_fraction: of `"standard"`.
      mean: subtracted, per channel on the 0..255 scale: one number for gray, three for RGB, four
        for RGB and alpha, which is what the model sees then.
      std: divided by, on the same scale.
    """

    image_size: int | tuple[int, ...] = 224
    crop: Literal["inception", "random_resized", "resize"] = "inception"
    min_area: float = 0.08
    interpolation: Literal[
        "nearest", "bilinear", "bicubic", "lanczos", "legacy_bicubic", "random"
    ] = "bicubic"
    flip: bool = True
    shift: int = 0
    randaugment: Literal["tensorflow", "increasing"] = "tensorflow"
    randaugment_layers: int = 0
    randaugment_magnitude: float = 15.0
    eval_method: Literal["official", "standard", "resize"] = "official"
    eval_crop_fraction: float = 0.875
    mean: tuple[float, ...] = preprocess.IMAGENET_MEAN
    std: tuple[float, ...] = preprocess.IMAGENET_STD

    def __post_init__(self):
        super().__post_init__()
        legacy = self.crop != "inception" and self.interpolation == "legacy_bicubic"
        require(not legacy, "config.data.interpolation: legacy_bicubic is for inception crops")
        preprocess.check_image_size(self.image_size, "config.data.image_size")
        require(0 < self.min_area <= 1, "config.data.min_area must be in (0, 1]")
        sides = f"config.data.shift={self.shift}: images have {self.image_size} pixels"
        require(0 <= self.shift < min(preprocess.height_width(self.image_size)), sides)
        require(self.randaugment_layers >= 0, "config.data.randaugment_layers is negative")
        share = self.eval_crop_fraction
        preprocess.check_crop_fraction(share, self.image_size, "config.data.eval_crop_fraction")
        preprocess.check_normalization(self.mean, self.std, CHANNELS)
        alpha = self.channels == 4 and self.randaugment_layers > 0
        require(not alpha, "config.data.randaugment_layers: images with alpha need 0")

    @property
    def channels(self) -> int:
        """Of images, see `common.data.images.decode`."""
        return len(self.mean)

    def require_fits(self, model: Backbone) -> None:
        """Raises UserError unless a model takes images as they are prepared."""
        require(
            model.in_channels == self.channels,
            f"config.model.in_channels={model.in_channels}, but config.data.mean and std have"
            f" {self.channels} numbers: give one for gray, 3 for RGB, 4 for RGB and alpha",
        )

    def train_transform(self) -> TrainTransform:
        """Returns what turns an example and a generator into arrays."""
        return TrainTransform(
            size=self.image_size,
            crop=self.crop,
            min_area=self.min_area,
            interpolation=self.interpolation,
            flip=self.flip,
            shift=self.shift,
            randaugment=self._randaugment() if self.randaugment_layers else None,
            channels=self.channels,
        )

    def eval_transform(self) -> EvalTransform:
        """Returns what turns an example into arrays, without randomness."""
        of_training = self.interpolation in ("legacy_bicubic", "random")
        return EvalTransform(
            size=self.image_size,
            method=self.eval_method,
            crop_fraction=self.eval_crop_fraction,
            interpolation="bicubic" if of_training else self.interpolation,
            channels=self.channels,
        )

    def _randaugment(self) -> RandAugment | IncreasingRandAugment:
        if self.randaugment == "increasing":
            return IncreasingRandAugment(
                self.randaugment_layers,
                self.randaugment_magnitude,
                interpolation="bicubic"
                if self.interpolation == "legacy_bicubic"
                else self.interpolation,
                fill=tuple(round(value) for value in self.mean * 3)[:3],
            )
        # Shifts and cuts are pixels of images of 224 and more; of small ones nothing was left.
        scale = min(1.0, min(preprocess.height_width(self.image_size)) / 224)
        return RandAugment(
            self.randaugment_layers,
            self.randaugment_magnitude,
            translate_const=100 * scale,
            cutout_const=40 * scale,
        )
