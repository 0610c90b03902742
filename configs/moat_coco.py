"""MOAT with Cascade Mask R-CNN on COCO at 1344.

    python -m launch.train --config=configs/moat_coco.py:variant=tiny_moat_0 \\
        --config.init.weights=tiny_moat_0/model --config.data.root=coco \\
        --workdir=runs/tiny_moat_0_coco

Variants: `tiny_moat_0` .. `tiny_moat_3`, `moat_0` .. `moat_3`; `init.weights` takes the release's
checkpoints.
Recipe: not released [our reading]. Windows of 14 at stride 16 and global attention at 32 (the
authors, in an issue of their repository), three stages whose gradients are scaled as detectron2's,
large-scale jitter; optimizer and length are those of detectron2's jittered baselines with AdamW.
Published: tiny-MOAT 50.5 / 51.9 / 53.0 / 55.2, MOAT 55.9 / 57.7 / 58.5 / 59.2 box AP (59.2 by the
paper, the others from listings). Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 64.
"""

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg
from common.data.preprocess import HALF_RANGE
from configs.base.detection import COCO, COCO_CLASSES, COCO_IMAGES, finish, start
from configs.base.imagenet import check_variant

_EPOCHS, _BATCH = 100, 64


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=tiny_moat_0`, `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="tiny_moat_0", smoke=False)
    names = [name for name in maxvit_jax.list_models("*moat_*") if name != "moat_4"]
    check_variant(arg.variant, names)
    dense = {"window_size": (None, None, 14, None), "pool_size": 3, "pad_inputs": True}
    config = start(
        arg.variant,
        "cascade_mask_rcnn",
        backbone_fields=dense,
        stage_weights=(1.0, 1.0, 1.0),
        scale_gradient=True,
    )
    config.init = {"weights": ""}
    config.model.num_classes = COCO_CLASSES
    config.data = COCO | {
        "image_size": 1344,
        "scale": (0.1, 2.0),
        "mean": HALF_RANGE,
        "std": HALF_RANGE,
        "batch_size": _BATCH,
    }
    steps = _EPOCHS * (COCO_IMAGES // _BATCH)
    config.optimizer = {"learning_rate": 1e-4, "weight_decay": 0.1}
    config.schedule = {
        "kind": "step",
        "milestones": (steps * 89 // 100, steps * 96 // 100),
        "warmup_steps": 1000,
        "decay_steps": steps,
    }
    return finish(config, steps, arg.smoke)
