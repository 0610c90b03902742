"""Segmentation of your own photos: a folder of images and a folder of masks.

    python -m launch.train --config=configs/segment_folder.py --config.data.root=mine \\
        --config.init.weights=poolformer_s12.pth --workdir=runs/mine
    python -m launch.train --config=configs/segment_folder.py:backbone=caformer_s18,head=upernet \\
        --config.data.root=mine --config.init.weights=caformer_s18.pth --workdir=runs/mine

`mine/images` and `mine/masks` hold files of equal names, `mine/classes.txt` one class per line; an
export of CVAT ("Segmentation mask 1.1") or Label Studio ("COCO with Images") will do too. A tenth
is held out to evaluate on, unless there are `mine/train` and `mine/val`: docs/segmentation.md.
`init.weights` takes anything that `load_pretrained` reads, of the backbone or of a segmenter with
the same classes; without it everything is learned from your photos alone.
Recipe: ours; a pretrained backbone learns at a tenth of the rate. A GPU, or patience.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.complete import complete
from configs.base.imagenet import check_variant
from configs.base.segmentation import start
from maxvit_jax.data_defaults import data_defaults
from maxvit_jax.tasks.segmentation import SegmentationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `backbone=poolformer_s12`, `head=semantic_fpn`, `size=384`,
    `steps=2000`, `pretrained=false` where there are no weights to start from."""
    arg = parse_arg(
        arg,
        backbone="poolformer_s12",
        head="semantic_fpn",
        size=384,
        steps=2000,
        pretrained=True,
    )
    check_variant(arg.backbone, maxvit_jax.list_models(), "backbone")
    config = start(arg.backbone, arg.head, head_fields={"init_scale": 0.1})
    config.init = {"weights": ""} if arg.pretrained else {}
    data = data_defaults(arg.backbone)
    config.data = {
        "source": "folder",
        "root": "",
        "holdout": 0.1,
        "image_size": arg.size,
        "resize": (4 * arg.size, arg.size),
        "scale": (0.5, 2.0),
        "photometric": True,
        "mean": data.mean,
        "std": data.std,
        "batch_size": 8,
    }
    slower = ({"pattern": "^backbone/", "learning_rate_factor": 0.1},)
    config.optimizer = {
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": 0.99,
        "groups": slower if arg.pretrained else (),
    }
    config.schedule = {"warmup_steps": arg.steps // 10, "decay_steps": arg.steps}
    every = max(arg.steps // 10, 1)
    config.train = {"num_steps": arg.steps, "log_every": 20}
    config.eval = {"every_steps": every}
    config.checkpoint = {"every_steps": every}
    return complete(config, SegmentationTask)
