"""Any model on your own images: a folder with one folder of images per class.

    python -m launch.train --config=configs/maxvit_folder.py --config.data.root=photos \\
        --workdir=runs/photos
    python -m launch.train --config=configs/maxvit_folder.py:variant=maxvit_small \\
        --config.data.root=photos --config.init.weights=maxvit_small_tf_224.safetensors \\
        --workdir=runs/photos

The second starts from published weights; `variant=` is any name that `list_models()` returns, and
images are prepared as for its published weights. `photos/train/<class>` and `photos/val/<class>`
are used where they exist, else a tenth of each class of `photos/<class>` is held out for
evaluation.
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours, after MaxViT's official fine-tuning; a GPU, or patience.
"""

import dataclasses

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.complete import complete
from maxvit_jax.data_defaults import data_defaults
from maxvit_jax.tasks.classification import ClassificationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=maxvit_tiny`, `size=224`, `steps=2000`."""
    arg = parse_arg(arg, variant="maxvit_tiny", size=224, steps=2000)
    config = ConfigDict()
    config.seed = 0
    config.init = {"reset_head": True}
    config.model = {"name": arg.variant}
    if not maxvit_jax.create_model(arg.variant).pad_inputs:
        config.model.pad_inputs = True  # inside the attention: any size will do
    config.task = {"label_smoothing": 0.1}
    config.data = {
        "source": "folder",
        "root": "",
        "train_split": "train",
        "eval_split": "val",
        "holdout": 0.1,
        **dataclasses.asdict(data_defaults(arg.variant, arg.size)),
        "crop": "inception",
        "min_area": 0.3,
        "flip": True,
        "randaugment_layers": 2,
        "randaugment_magnitude": 7.0,
        "batch_size": 32,
    }
    config.optimizer = {
        "learning_rate": 1e-4,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": 0.999,
    }
    config.schedule = {"warmup_steps": arg.steps // 10, "decay_steps": arg.steps}
    config.train = {"num_steps": arg.steps, "log_every": 20}
    config.eval = {"every_steps": 200}
    config.checkpoint = {"every_steps": 200}
    return complete(config, ClassificationTask)
