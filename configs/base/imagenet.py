"""What ImageNet recipes share: the data sets, two styles of augmentation, epochs, cadences."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from common.errors import UserError, did_you_mean
from configs.base.complete import complete
from maxvit_jax.tasks.classification import ClassificationTask

TRAIN_IMAGES = 1_281_167
TRAIN_IMAGES_21K = 14_197_122

# Sections `data` of ImageNet-1k, by whose recipe it follows.
GOOGLE_1K = {  # MaxViT's release
    "source": "tfds",
    "name": "imagenet2012",
    "train_split": "train",
    "eval_split": "validation",
    "image_size": 224,
    "crop": "inception",
    "interpolation": "legacy_bicubic",
    "flip": True,
    "randaugment_layers": 2,
    "randaugment_magnitude": 15.0,
    "eval_method": "official",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}
TIMM_1K = GOOGLE_1K | {  # DeiT's, and with it that of PoolFormer and the MetaFormer baselines
    "crop": "random_resized",
    "interpolation": "random",
    "randaugment": "increasing",  # rand-m9-mstd0.5-inc1; colour jitter is off beside it
    "randaugment_magnitude": 9.0,
    "eval_method": "standard",
}

# ImageNet-21k from a folder of class folders (tfds has no builder), little augmentation.
GOOGLE_21K = {
    "source": "folder",
    "root": "data/imagenet21k",
    "eval_split": "val",
    "holdout": 0.01,  # [ours] the release has no validation part
    "image_size": 224,
    "interpolation": "legacy_bicubic",
    "eval_method": "official",
}

# Sections `task`.
GOOGLE_LOSS = {"label_smoothing": 0.1, "mixup_alpha": 0.8, "cutmix_alpha": 0.0}
TIMM_LOSS = GOOGLE_LOSS | {"cutmix_alpha": 1.0, "erase_probability": 0.25}


def steps_of(epochs: int, batch_size: int, images: int = TRAIN_IMAGES) -> int:
    """Returns the optimizer steps that so many passes over the images take."""
    return epochs * images // batch_size


def check_variant(variant: str, known: Iterable[str], argument: str = "variant") -> None:
    """Raises UserError unless a recipe knows a variant; the message names the nearest."""
    if variant not in (known := list(known)):
        raise UserError(f"config argument {argument}={variant}: {did_you_mean(variant, known)}")


def start(name: str, *, batch_size: int, smoke: bool) -> ConfigDict:
    """Returns a config with a model in bfloat16 and a loader; `smoke` takes batches of 8."""
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": name, "dtype": "bfloat16"}
    config.data = {"batch_size": 8 if smoke else batch_size, "num_workers": 0 if smoke else 8}
    return config


def finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    """Adds length and cadences, and every field that was left out; `smoke` stops at step 3."""
    config.train = {"num_steps": 3 if smoke else steps, "log_every": 1 if smoke else 100}
    config.eval = {"every_steps": 3 if smoke else 5000}
    config.checkpoint = {"every_steps": 3 if smoke else 1000, "keep_latest": 2, "keep_best": 1}
    return complete(config, ClassificationTask)
