"""MaxViT with a feature pyramid on Pascal VOC at 512, 20,000 steps.

    python -m launch.train --config=configs/maxvit_voc.py:variant=maxvit_small \\
        --config.init.weights=maxvit_small_tf_512.safetensors \\
        --config.data.root=VOCdevkit/VOC2012 --workdir=runs/maxvit_small_voc

Variants: `maxvit_tiny` .. `maxvit_xlarge`; `init.weights` takes classifiers of any size: tables of
the position bias keep theirs and are resized in the forward pass.
Recipe: TensorFlow Model Garden (official/projects/maxvit, seg_maxvitseg_i512_pascal, S), which
says 1e-5 in its yaml and 5e-4 in its code: the latter here.
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
    config = maxvit_recipe(arg.variant, size=512, fusion="sum")
    config.model.num_classes = 21
    config.data.update({"source": "voc", "root": "", "train_split": "train_aug"})
    return finish(config, 20_000, arg.smoke)
