"""What `launch.evaluate --model=... --weights=...` evaluates on unless told otherwise.

ImageNet's validation split with the preprocessing of the official 224 models, and with
`--config=configs/evaluate.py:size=384` or `512` that of those fine-tuned from them.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD
from configs.base.complete import classification


def get_config(arg: str = "") -> ConfigDict:
    """Returns the data; `size=224`, `model.name` is replaced by `--model`."""
    arg = parse_arg(arg, size=224)
    require(arg.size > 0 and arg.size % 32 == 0, f"size={arg.size}: must be a multiple of 32")
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": "maxvit_tiny", "window_size": arg.size // 32}
    config.data = {
        "source": "tfds",
        "name": "imagenet2012",
        "image_size": arg.size,
        "mean": IMAGENET_MEAN if arg.size == 224 else HALF_RANGE,
        "std": IMAGENET_STD if arg.size == 224 else HALF_RANGE,
        "batch_size": 64,
    }
    config.optimizer = {"learning_rate": 1.0}
    config.schedule = {"kind": "constant"}
    config.train = {"num_steps": 1}
    return classification(config)
