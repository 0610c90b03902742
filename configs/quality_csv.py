"""Quality of your own photos: a CSV file with what people think of each.

    python -m launch.train --config=configs/quality_csv.py --config.data.root=mine \\
        --config.init.weights=maxvit_tiny_tf_224.safetensors --workdir=runs/mine
    python -m launch.train --config=configs/quality_csv.py:backbone=caformer_s18,scores=5 \\
        --config.data.root=mine --config.data.image_column=image_name \\
        --config.init.weights=caformer_s18.pth --workdir=runs/mine

`mine` holds the images, in folders or not, and a CSV file with the columns `image` and `c1`, `c2`
.. (how many people gave which score), or `image`, `mean` and `std`: docs/quality.md. A tenth is
held out to evaluate on, unless `config.data.train_list` or `eval_list` says otherwise.
`init.weights` takes anything that `load_pretrained` reads; without it everything is learned from
your photos alone.
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours; a pretrained backbone learns at a tenth of the rate. A GPU, or patience.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg, require
from configs.base.dense import own_photos
from configs.base.imagenet import check_variant
from configs.base.quality import BACKBONE
from maxvit_jax.tasks.quality import QualityTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `backbone=maxvit_tiny`, `scores=10` for 1 to 10, `size=224`,
    `steps=2000`, `pretrained=false` where there are no weights to start from."""
    arg = parse_arg(arg, backbone="maxvit_tiny", scores=10, size=224, steps=2000, pretrained=True)
    check_variant(arg.backbone, maxvit_jax.list_models(), "backbone")
    require(arg.scores > 1, f"scores={arg.scores}: two at least, 1 and 2")
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": arg.backbone, "head_dropout": 0.5}
    if not maxvit_jax.create_model(arg.backbone).pad_inputs:
        config.model.pad_inputs = True  # inside the attention: any size will do
    config.task = {"threshold": (1 + arg.scores) / 2}
    config.data = {"source": "csv", "scores": tuple(map(float, range(1, arg.scores + 1)))}
    config = own_photos(
        config,
        QualityTask,
        backbone=arg.backbone,
        size=arg.size,
        steps=arg.steps,
        pretrained=arg.pretrained,
        slower=BACKBONE,
    )
    config.init.reset_head = arg.pretrained
    return config
