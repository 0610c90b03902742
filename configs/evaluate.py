"""What `launch.evaluate --model=... --weights=...` evaluates on unless told otherwise.

ImageNet's validation split with the preprocessing of the official 224 models. Fine-tuned weights:
`--config.data.image_size=384 --config.model.window_size=12` and mean and std of 127.5.
"""

from ml_collections import ConfigDict

from configs.base.complete import classification


def get_config() -> ConfigDict:
    """Returns the data; `model.name` is replaced by `--model`."""
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": "maxvit_tiny", "num_classes": 1000}
    config.data = {"source": "tfds", "name": "imagenet2012", "batch_size": 64}
    config.optimizer = {"learning_rate": 1.0}
    config.schedule = {"kind": "constant"}
    config.train = {"num_steps": 1}
    return classification(config)
