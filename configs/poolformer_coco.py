"""PoolFormer with RetinaNet or Mask R-CNN on COCO at 1333 x 800, 12 epochs.

    python -m launch.train --config=configs/poolformer_coco.py:variant=poolformer_s12 \\
        --config.init.weights=poolformer_s12.pth --config.data.root=coco \\
        --workdir=runs/poolformer_s12_retinanet

Variants: `poolformer_s12`, `s24`, `s36`; `head=retinanet` or `mask_rcnn`; `init.weights` takes
their ImageNet weights.
Recipe: official release (sail-sg/poolformer, detection), without stochastic depth [unverified];
images without objects are learned from too.
Published: RetinaNet 36.2 / 38.9 / 39.5 box AP; Mask R-CNN 37.3 / 40.1 / 41.0 box AP and 34.6 / 37.0
/ 37.7 mask AP (official release). Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 16.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.detection import finish, one_schedule, start
from configs.base.imagenet import check_variant


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=poolformer_s12`, `head=retinanet`, `smoke=true` stops after
    three small steps."""
    arg = parse_arg(arg, variant="poolformer_s12", head="retinanet", smoke=False)
    check_variant(arg.variant, [f"poolformer_{size}" for size in ("s12", "s24", "s36")])
    check_variant(arg.head, ("retinanet", "mask_rcnn"), "head")
    config = start(arg.variant, arg.head, backbone_fields={"drop_path_rate": 0.0})
    config.init = {"weights": ""}
    rate = 1e-4 if arg.head == "retinanet" else 2e-4
    one_schedule(config, batch_size=16, learning_rate=rate)
    config.optimizer.update({"weight_decay": 1e-4, "no_decay": ""})
    return finish(config, config.schedule.decay_steps, arg.smoke)
