"""CAFormer or ConvFormer with UPerNet on ADE20K at 512, 160,000 steps.

    python -m launch.train --config=configs/caformer_ade20k.py:variant=caformer_s18 \\
        --config.init.weights=caformer_s18.pth --config.data.root=ADEChallengeData2016 \\
        --workdir=runs/caformer_s18_ade20k

Variants: `caformer_*`, `convformer_*`; `init.weights` takes their ImageNet weights.
Recipe: ours, mmsegmentation's for Swin; the release has none for dense tasks.
Published: none at hand. Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 16.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.segmentation import finish
from configs.base.upernet import swin_recipe


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=caformer_s18`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="caformer_s18", smoke=False)
    variants = [*maxvit_jax.list_models("caformer_*"), *maxvit_jax.list_models("convformer_*")]
    check_variant(arg.variant, variants)
    return finish(swin_recipe(arg.variant, drop_path_rate=0.3), 160_000, arg.smoke)
