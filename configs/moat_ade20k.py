"""MOAT with DeepLabv3+ on ADE20K, 100,000 steps.

    python -m launch.train --config=configs/moat_ade20k.py:variant=tiny_moat_0 \\
        --config.init.weights=tiny_moat_0/model --config.data.root=ADEChallengeData2016 \\
        --workdir=runs/tiny_moat_0_ade20k

Variants: `tiny_moat_0` .. `tiny_moat_3`, `moat_0` .. `moat_4`; `init.weights` takes the release's
checkpoints. `size=640` is the paper's 641 for MOAT-4 [unverified]: whole photos are padded to
multiples of 32, not to one pixel more as deeplab2's.
Recipe: not released. Attention is global (the authors, in an issue of their repository), pooling
shortcuts as in their dense models; optimizer, steps, batch and jitter from deeplab2's config for
ADE20K; the output stride of 16, the schedule's shape and what else it leaves open: ours.
Published: tiny-MOAT-0..3 41.2 / 43.1 / 44.9 / 47.5, MOAT-2 54.7, MOAT-3 56.5 (leaderboard
listings), MOAT-4 57.6 % mIoU (paper). Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 64.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from common.data.preprocess import HALF_RANGE
from configs.base.imagenet import check_variant
from configs.base.segmentation import ADE20K, finish, start


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=tiny_moat_0`, `size=512`, `smoke=true` for three small steps."""
    arg = parse_arg(arg, variant="tiny_moat_0", size=512, smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("*moat_*"))
    dense = {"output_stride": 16, "pool_size": 3}
    config = start(arg.variant, "deeplabv3plus", backbone_fields=dense)
    config.init = {"weights": ""}
    config.model.num_classes = 150
    config.data = ADE20K | {
        "image_size": arg.size,
        "resize": (4 * arg.size, arg.size),
        "photometric": False,
        "max_class_share": 1.0,
        "mean": HALF_RANGE,
        "std": HALF_RANGE,
        "batch_size": 64,
        "eval_batch_size": 8,
    }
    config.optimizer = {
        "learning_rate": 5e-4,
        "weight_decay": 0.05,
        "groups": ({"pattern": "^backbone/", "learning_rate_factor": 0.1},),
    }
    config.schedule = {"kind": "poly", "power": 0.9, "warmup_steps": 2000}
    return finish(config, 100_000, arg.smoke)
