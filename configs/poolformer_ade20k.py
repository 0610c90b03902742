"""PoolFormer with Semantic FPN on ADE20K at 512, 40,000 steps.

    python -m launch.train --config=configs/poolformer_ade20k.py:variant=poolformer_s12 \\
        --config.init.weights=poolformer_s12.pth --config.data.root=ADEChallengeData2016 \\
        --workdir=runs/poolformer_s12_ade20k
    python -m launch.evaluate --workdir=runs/poolformer_s12_ade20k --every_size

Variants: `poolformer_s12`, `s24`, `s36`, `m36`, `m48`; `init.weights` takes their ImageNet weights.
Recipe: official release (sail-sg/poolformer, segmentation), without stochastic depth [unverified].
The release trains with half of the processes' batch statistics each; here they are the batch's.
Published: 37.2 / 40.3 / 42.0 / 42.4 / 42.7 % mIoU (official release). Our own: not run yet.
Hardware: expected, not tried: a GPU or more; global batch 32.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.segmentation import ADE20K, finish, start


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=poolformer_s12`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="poolformer_s12", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("poolformer_*"))
    config = start(arg.variant, "semantic_fpn", backbone_fields={"drop_path_rate": 0.0})
    config.init = {"weights": ""}
    config.model.num_classes = 150
    config.task = {"normaliser": "all"}
    config.data = ADE20K | {"batch_size": 32, "eval_batch_size": 8}
    config.optimizer = {"learning_rate": 2e-4, "weight_decay": 1e-4, "no_decay": ""}
    config.schedule = {"kind": "poly", "power": 0.9}
    return finish(config, 40_000, arg.smoke)
