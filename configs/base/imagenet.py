"""The published ImageNet recipes of MaxViT; each recipe file picks a variant.

Sources: official 1k config (google-research/maxvit) unless marked; `[paper]` marks values quoted
from the paper's appendix, `[ours]` those that neither gives.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD
from configs.base.complete import classification

TRAIN_IMAGES = 1_281_167
TRAIN_IMAGES_21K = 14_197_122


def pretrain(name: str, arg: str) -> ConfigDict:
    """ImageNet-1k from scratch at 224: 300 epochs at batch 4096.

    Args:
      name: of the model; its variant brings the stochastic depth rate.
      arg: `smoke=true` for three steps at batch 8 on the same data.
    """
    arg = parse_arg(arg, smoke=False)
    config = _base(name, batch_size=4096, smoke=arg.smoke)
    steps = 300 * TRAIN_IMAGES // 4096
    config.model.num_classes = 1000
    config.data.update(_imagenet_1k())
    config.optimizer.update({"learning_rate": 3e-3, "weight_decay": 0.05, "ema_decay": 0.9999})
    config.schedule = {"warmup_steps": 10_000, "decay_steps": steps, "end_value": 1e-5}
    return _finish(config, steps, arg.smoke)


def finetune(name: str, arg: str) -> ConfigDict:
    """ImageNet-1k from weights pre-trained at 224: 30 epochs at batch 512, constant rate.

    Bias tables keep the size of window 7 and are resized in the forward pass, the head's dense
    layers start fresh, and inputs are scaled to -1..1, as officially.

    Args:
      name: of the model.
      arg: `size=384` or `512`; `smoke=true` for three steps at batch 8.
    """
    arg = parse_arg(arg, size=384, smoke=False)
    require(arg.size > 0 and arg.size % 32 == 0, f"size={arg.size}: must be a multiple of 32")
    config = _base(name, batch_size=512, smoke=arg.smoke)
    steps = 30 * TRAIN_IMAGES // 512
    config.init = {"weights": "", "reset_head": True}
    config.model.update({"num_classes": 1000, "window_size": arg.size // 32, "bias_window_size": 7})
    config.data.update(_imagenet_1k() | {"mean": HALF_RANGE, "std": HALF_RANGE})
    config.data.image_size = arg.size
    config.optimizer.update({"learning_rate": 5e-5, "weight_decay": 1e-8, "ema_decay": 0.9999})
    config.schedule = {"kind": "constant"}
    return _finish(config, steps, arg.smoke)


def pretrain_21k(name: str, arg: str) -> ConfigDict:
    """ImageNet-21k at 224 from a folder of class folders (tfds has no builder) [paper].

    90 epochs at batch 4096, warm-up of 5 epochs, weight decay 0.01, little augmentation.

    Args:
      name: of the model.
      arg: `smoke=true` for three steps at batch 8 on the same data.
    """
    arg = parse_arg(arg, smoke=False)
    config = _base(name, batch_size=4096, smoke=arg.smoke)
    steps = 90 * TRAIN_IMAGES_21K // 4096
    config.task = {"label_smoothing": 0.1, "mixup_alpha": 0.0, "cutmix_alpha": 0.0}
    config.data.update(
        {
            "source": "folder",
            "root": "data/imagenet21k",
            "eval_split": "val",
            "holdout": 0.01,  # [ours] the release has no validation part
            "image_size": 224,
            "interpolation": "legacy_bicubic",
            "eval_method": "official",
            "mean": HALF_RANGE,
            "std": HALF_RANGE,
        }
    )
    config.optimizer.update({"learning_rate": 1e-3, "weight_decay": 0.01, "ema_decay": 0.9999})
    warmup = 5 * TRAIN_IMAGES_21K // 4096
    config.schedule = {"warmup_steps": warmup, "decay_steps": steps, "end_value": 1e-5}  # [ours]
    return _finish(config, steps, arg.smoke)


def _base(name: str, *, batch_size: int, smoke: bool) -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": name, "dtype": "bfloat16"}
    config.task = {"label_smoothing": 0.1, "mixup_alpha": 0.8, "cutmix_alpha": 0.0}
    config.data = {"batch_size": 8 if smoke else batch_size, "num_workers": 0 if smoke else 8}
    config.optimizer = {"clip_norm": 1.0, "no_decay": "bias|scale"}
    return config


def _imagenet_1k() -> dict:
    return {
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


def _finish(config: ConfigDict, steps: int, smoke: bool) -> ConfigDict:
    config.train = {"num_steps": 3 if smoke else steps, "log_every": 1 if smoke else 100}
    config.eval = {"every_steps": 3 if smoke else 5000}
    config.checkpoint = {"every_steps": 3 if smoke else 1000, "keep_latest": 2, "keep_best": 1}
    return classification(config)
