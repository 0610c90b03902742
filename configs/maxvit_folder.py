"""MaxViT on your own images: a folder with one folder of images per class.

    python -m launch.train --config=configs/maxvit_folder.py --config.data.root=photos \\
        --workdir=runs/photos
    python -m launch.train --config=configs/maxvit_folder.py:variant=maxvit_small \\
        --config.data.root=photos --config.init.weights=maxvit_small_tf_224.safetensors \\
        --workdir=runs/photos

The second starts from published weights. `photos/train/<class>` and `photos/val/<class>` are used
where they exist, else a tenth of each class of `photos/<class>` is held out for evaluation.
Recipe: ours, after the official fine-tuning; a GPU, or patience.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from configs.base.complete import classification


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=maxvit_tiny`, `size=224`, `steps=2000`."""
    arg = parse_arg(arg, variant="maxvit_tiny", size=224, steps=2000)
    config = ConfigDict()
    config.seed = 0
    config.init = {"reset_head": True}
    # Padding inside the attention: any size will do.
    config.model = {"name": arg.variant, "pad_inputs": True}
    config.task = {"label_smoothing": 0.1}
    config.data = {
        "source": "folder",
        "root": "",
        "train_split": "train",
        "eval_split": "val",
        "holdout": 0.1,
        "image_size": arg.size,
        "crop": "inception",
        "min_area": 0.3,
        "flip": True,
        "randaugment_layers": 2,
        "randaugment_magnitude": 7.0,
        "eval_method": "official",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
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
    return classification(config)
