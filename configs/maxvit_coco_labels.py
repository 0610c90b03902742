"""MaxViT with a feature pyramid on COCO's 91 classes at 640.

    python -m launch.train --config=configs/maxvit_coco_labels.py:variant=maxvit_small \\
        --config.init.weights=maxvit_small_tf_512.safetensors --config.data.root=coco \\
        --workdir=runs/maxvit_small_coco

`coco` holds `train2017`, `val2017` and `annotations` with `instances_train2017.json` and
`instances_val2017.json`, whose outlines are drawn as they are read (`pip install '.[detection]'`).
Classes are category ids 0 to 90, 0 for the background: docs/segmentation.md.
Variants: `maxvit_tiny` .. `maxvit_xlarge`.
Recipe: TensorFlow Model Garden (official/projects/maxvit); steps as its recipe for COCO detection
[unverified].
Published: nothing. Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 32.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.model_garden import maxvit_recipe
from configs.base.segmentation import finish


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=maxvit_small`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="maxvit_small", smoke=False)
    check_variant(arg.variant, maxvit_jax.list_models("maxvit_*"))
    config = maxvit_recipe(arg.variant, size=640, fusion="concat")
    config.model.num_classes = 91
    config.data.update({"source": "coco", "root": ""})
    return finish(config, 90_000, arg.smoke)
