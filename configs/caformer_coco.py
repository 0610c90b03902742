"""CAFormer with Mask R-CNN on COCO at 1333 x 800, 12 epochs.

    python -m launch.train --config=configs/caformer_coco.py:variant=caformer_s18 \\
        --config.init.weights=caformer_s18.safetensors --config.data.root=coco \\
        --workdir=runs/caformer_s18_coco

Variants: `caformer_s18`, `s36`, `m36`, `b36`.
Recipe: not released. mmdetection's for Swin, once its schedule, without multi-scale [our reading].
Published: no number that we know of. Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 16.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.detection import swin_recipe
from configs.base.imagenet import check_variant


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=caformer_s18`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="caformer_s18", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("caformer_*"))
    return swin_recipe(arg.variant, arg.smoke)
