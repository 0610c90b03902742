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
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours; a pretrained backbone learns at a tenth of the rate. A GPU, or patience.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.dense import own_photos
from configs.base.imagenet import check_variant
from configs.base.segmentation import start
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
    config.data = {
        "source": "folder",
        "resize": (4 * arg.size, arg.size),
        "scale": (0.5, 2.0),
        "photometric": True,
    }
    return own_photos(
        config,
        SegmentationTask,
        backbone=arg.backbone,
        size=arg.size,
        steps=arg.steps,
        pretrained=arg.pretrained,
    )
