"""Detection on your own photos: a COCO JSON and a folder of images.

    python -m launch.train --config=configs/detect_folder.py --config.data.root=mine \\
        --config.init.weights=poolformer_s12.pth --workdir=runs/mine
    python -m launch.train --config=configs/detect_folder.py:backbone=caformer_s18,head=mask_rcnn \\
        --config.data.root=mine --config.init.weights=caformer_s18.pth --workdir=runs/mine

`mine` is what CVAT, Label Studio, Roboflow or labelme's converters export; or Pascal VOC's XML
(`--config.data.source=voc`) or YOLO's text files (`yolo`). A tenth of the images is held out to
evaluate on, unless the export has splits.
`init.weights` takes anything that `load_pretrained` reads, of the backbone or of a detector with
the same classes; without it everything is learned from your photos alone.
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours; a pretrained backbone learns at a tenth of the rate. A GPU, or patience.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.dense import own_photos
from configs.base.detection import start
from configs.base.imagenet import check_variant
from maxvit_jax.tasks.detection import DetectionTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `backbone=poolformer_s12`, `head=retinanet`, `size=512`, `steps=2000`,
    `pretrained=false` where there are no weights to start from."""
    arg = parse_arg(
        arg,
        backbone="poolformer_s12",
        head="retinanet",
        size=512,
        steps=2000,
        pretrained=True,
    )
    check_variant(arg.backbone, maxvit_jax.list_models(), "backbone")
    config = start(arg.backbone, arg.head)
    config.data = {"source": "coco", "scale": (0.5, 1.5)}
    return own_photos(
        config,
        DetectionTask,
        backbone=arg.backbone,
        size=arg.size,
        steps=arg.steps,
        pretrained=arg.pretrained,
        clip_norm=10.0,
    )
