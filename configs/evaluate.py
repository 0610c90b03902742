"""What `launch.evaluate --model=... --weights=...` evaluates on: ImageNet's validation split.

Images are prepared as for the published weights of a model and size:
`--config=configs/evaluate.py:model=maxvit_base,size=384`.
"""

import dataclasses

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg, require
from configs.base.complete import complete
from maxvit_jax.data_defaults import published_fields
from maxvit_jax.tasks.classification import ClassificationTask

_DEFAULT_SIZE = -1  # the model's


def get_config(arg: str = "") -> ConfigDict:
    """Returns the data; `model=maxvit_tiny`, and `size=384` for another size than the model's."""
    arg = parse_arg(arg, model="maxvit_tiny", size=_DEFAULT_SIZE)
    fits = arg.size == _DEFAULT_SIZE or (arg.size > 0 and arg.size % 32 == 0)
    require(fits, f"size={arg.size}: must be a multiple of 32")
    size = None if arg.size == _DEFAULT_SIZE else arg.size
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": arg.model, **published_fields(arg.model, size)}
    config.data = {
        "source": "tfds",
        "name": "imagenet2012",
        "batch_size": 64,
        **dataclasses.asdict(maxvit_jax.data_defaults(arg.model, size)),
    }
    config.optimizer = {"learning_rate": 1.0}
    config.schedule = {"kind": "constant"}
    config.train = {"num_steps": 1}
    return complete(config, ClassificationTask)
