"""What recipes of image quality share.

Sources: `[paper]` marks what we read in or recall of MaxViT's paper and NIMA's (arXiv:1709.05424),
not checked again; `[ours]` what neither gives.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from configs.base.complete import complete
from configs.base.imagenet import start, steps_of
from maxvit_jax.tasks.quality import QualityTask

BACKBONE = "^(?!head/)"  # parameters of a classifier but for its head
SIZES = (224, 384, 512)  # [paper]
_TRAIN_IMAGES = 204_000  # of AVA: four fifths of about 255,000


def ava(name: str, arg: str) -> ConfigDict:
    """MaxViT on AVA from ImageNet weights of 224: 10 epochs at batch 128 [ours].

    Bias tables keep the size of window 7 and are resized in the forward pass, as in fine-tuning on
    ImageNet; the head's dense layers start fresh.

    Args:
      name: of the model; its variant brings the stochastic depth rate [ours].
      arg: `size=224`, 384 or 512; `smoke=true` for three steps at batch 2.
    """
    arg = parse_arg(arg, size=224, smoke=False)
    require(arg.size in SIZES, f"size={arg.size}: choose from {', '.join(map(str, SIZES))}")
    config = start(name, batch_size=128, smoke=arg.smoke)
    steps = 3 if arg.smoke else steps_of(10, 128, _TRAIN_IMAGES)
    config.init = {} if arg.smoke else {"weights": "", "reset_head": True}
    config.model.update({"window_size": arg.size // 32, "bias_window_size": 7})
    config.model.head_dropout = 0.75  # [paper] NIMA
    config.data.update(
        {
            "source": "ava",
            "holdout": 0.2,  # four fifths to train on, where there are no lists
            "image_size": arg.size,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        }
    )
    if arg.smoke:
        config.data.batch_size = 2
    config.optimizer = {
        "learning_rate": 1e-3,  # [ours]
        "weight_decay": 0.01,  # [ours]
        "clip_norm": 1.0,  # [ours]
        "ema_decay": 0.999,  # [ours]
        "groups": ({"pattern": BACKBONE, "learning_rate_factor": 0.1},),  # [paper] NIMA
    }
    config.schedule = {"warmup_steps": steps // 20, "decay_steps": steps}  # [ours]
    config.train = {"num_steps": steps, "log_every": 1 if arg.smoke else 100}
    config.eval = config.checkpoint = {"every_steps": 3 if arg.smoke else 1000}
    return complete(config, QualityTask)
