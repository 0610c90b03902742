"""`configs/gan_folder.py` with a model of a few thousand parameters, of 8x8 pixels."""

from configs import gan_folder
from tests.tasks.gans import FIELDS


def get_config(arg=""):
    config = gan_folder.get_config(arg)
    for name, value in FIELDS.items():
        config.model[name] = tuple(value) if isinstance(value, list) else value
    config.task.augment = ()
    config.data.update(batch_size=4, eval_batch_size=8, num_workers=0)
    config.checkpoint.every_steps = 2
    return config
