"""A generator of images like your own: a folder of them, with any subfolders.

    python -m launch.train --config=configs/gan_folder.py --config.data.root=mine \\
        --workdir=runs/mine
    python -m launch.train --config=configs/gan_folder.py:model=maxvit_gan_64,steps=50000 \\
        --config.data.root=mine --config.init.weights=runs/others --workdir=runs/mine
    python -m launch.generate --workdir=runs/mine --output=samples

Square crops are learned; images of one kind and place, such as faces or leaves, learn best.
Thousands are needed, and with hundreds augmentation alone keeps the discriminator from learning
them by heart. `init.weights` takes a run, or anything else that `load_pretrained` reads.
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours, HiT-GAN's optimizer with DiffAugment (https://arxiv.org/abs/2006.10738). Made images
are compared with all of yours by their pixels at 8x8; `--config.task.features=runs/classifier`
compares what a classifier of yours sees.
A GPU, or patience.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from configs.base.generation import start
from configs.base.imagenet import check_variant
from maxvit_jax import gans
from maxvit_jax.tasks.generation import GenerationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `model=maxvit_gan_64`, which says the side too, `steps=50000`."""
    arg = parse_arg(arg, model="hit_gan_64", steps=50_000)
    check_variant(arg.model, gans.list_models(), "model")
    config = start(arg.model, learning_rate=2e-4)
    config.task.update({"augment": ("color", "translation", "cutout"), "r1_every": 4})
    config.data = {"source": "images", "root": "", "flip": True, "batch_size": 32}
    config.data.num_workers = 4
    config.optimizer.update({"ema_decay": 0.999, "ema_start": 10})
    config.train = {"num_steps": arg.steps, "log_every": 50}
    config.eval = {"every_steps": min(arg.steps, 2000)}
    config.checkpoint = {"every_steps": 1000}
    return complete(config, GenerationTask)
