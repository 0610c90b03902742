"""What TensorFlow Model Garden's segmentation recipes for MaxViT share."""

from ml_collections import ConfigDict

from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from configs.base.segmentation import start


def maxvit_recipe(variant: str, *, size: int, fusion: str) -> ConfigDict:
    """Returns the recipe but for data and length.

    Args:
      variant: of MaxViT.
      size: side of the images; windows and grids have a 32nd of it, with tables of 7.
      fusion: of the pyramid, `"sum"` or `"concat"`.
    """
    dense = {"window_size": size // 32, "bias_window_size": 7, "drop_path_rate": 0.3}
    config = start(variant, "fpn_concat", backbone_fields=dense, head_fields={"fusion": fusion})
    config.init = {"weights": ""}
    config.task = {"normaliser": "valid"}
    config.data = {
        "image_size": size,
        "resize": (size, size),
        "scale": (0.5, 2.0),
        "max_class_share": 1.0,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "batch_size": 32,
        "eval_batch_size": 8,
        "num_workers": 8,
    }
    config.optimizer = {
        "learning_rate": 5e-4,
        "weight_decay": 1e-4,
        "no_decay": "bias|scale|table",
        "ema_decay": 0.9998,
    }
    config.schedule = {"kind": "cosine"}
    return config
