"""AEWin with UPerNet on ADE20K at 512, 160,000 steps.

    python -m launch.train --config=configs/aewin_ade20k.py:variant=aewin_tiny \\
        --config.init.weights=runs/aewin_tiny --config.data.root=ADEChallengeData2016 \\
        --workdir=runs/aewin_tiny_ade20k

Variants: `aewin_tiny`, `aewin_small`, `aewin_base`; `init.weights` takes a run of
`configs/aewin.py`.
Recipe: AEWin's was not released. mmsegmentation's for Swin, which later window transformers share.
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
    """Returns the recipe; `variant=aewin_tiny`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="aewin_tiny", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("aewin_*"))
    return finish(swin_recipe(arg.variant, drop_path_rate=0.3), 160_000, arg.smoke)
