"""MaxViT with Cascade Mask R-CNN, or RetinaNet, on COCO at 640 or 896.

    python -m launch.train --config=configs/maxvit_coco.py:variant=maxvit_tiny,size=640 \\
        --config.init.weights=maxvit_tiny_tf_224.safetensors --config.data.root=coco \\
        --workdir=runs/maxvit_tiny_coco

Variants: `maxvit_tiny`, `maxvit_small`, `maxvit_base`; `size=640` or `896`; `head=retinanet` is
published for base at 640 alone. `init.weights` takes classifiers of any size.
Recipe: TensorFlow Model Garden (official/projects/maxvit: coco_maxvitt_i640_crcnn,
coco_maxvits_i896_crcnn, coco_maxvitb_i640_crcnn, coco_maxvitb_i896_crcnn,
retinanet_maxvit_base_coco_i640_tpu). Tiny at 896 and small at 640 have none there: the numbers of
the other size. Without the additional L2 penalty of 1e-7 or 2e-7. Masks are learned on boxes of the
last stage, as there. The schedule of RetinaNet is that of its ResNet recipe [unverified].
Published (Model Garden, box / mask AP): 640: 49.97 / 42.69, 50.79 / 43.36, 51.59 / 44.07; 896:
52.35 / 44.69, 53.54 / 45.79, 53.47 / 45.96; RetinaNet 46.63. Our own: not run yet.
Hardware: expected, not tried: a pod; global batch 256.
"""

from ml_collections import ConfigDict

from common.config import parse_arg, require
from configs.base.detection import COCO, COCO_CLASSES, finish, start
from configs.base.imagenet import check_variant

VARIANTS = ("maxvit_tiny", "maxvit_small", "maxvit_base")
SIZES = (640, 896)
# Stochastic depth: one less the release's "survival_prob".
_DROP_PATH = {
    ("maxvit_tiny", 640): 0.7,
    ("maxvit_tiny", 896): 0.7,
    ("maxvit_small", 640): 0.5,
    ("maxvit_small", 896): 0.5,
    ("maxvit_base", 640): 0.3,
    ("maxvit_base", 896): 0.8,
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=maxvit_tiny`, `size=640`, `head=cascade_mask_rcnn`,
    `smoke=true` stops after three small steps."""
    arg = parse_arg(arg, variant="maxvit_tiny", size=640, head="cascade_mask_rcnn", smoke=False)
    check_variant(arg.variant, VARIANTS)
    check_variant(arg.head, ("cascade_mask_rcnn", "retinanet"), "head")
    require(arg.size in SIZES, f"size={arg.size}: published are {SIZES[0]} and {SIZES[1]}")
    one_stage = arg.head == "retinanet"
    dense = {
        "window_size": arg.size // 32,
        "bias_window_size": 7,
        "drop_path_rate": 0.7 if one_stage else _DROP_PATH[arg.variant, arg.size],
    }
    fields = {"convention": "mg"}
    if not one_stage:
        fields |= {
            "iou_thresholds": (0.6, 0.7),
            "stage_weights": (0.5, 0.5),
            "finest_stride": 8,
            "extra_levels": 2,
            "anchor_size": 3.0,
        }
    config = start(arg.variant, arg.head, backbone_fields=dense, **fields)
    config.init = {"weights": ""}
    config.model.num_classes = COCO_CLASSES
    config.data = COCO | {
        "image_size": arg.size,
        "scale": (0.8, 1.2) if one_stage else (0.1, 2.5),
        "batch_size": 256,
    }
    if one_stage:
        epoch = 118_287 // 256
        config.optimizer = {"kind": "sgd", "learning_rate": 0.32, "weight_decay": 1e-4}
        config.schedule = {
            "kind": "step",
            "milestones": (57 * epoch, 67 * epoch),
            "warmup_steps": 500,
            "init_value": 0.0067,
            "decay_steps": 72 * epoch,
        }
        return finish(config, 72 * epoch, arg.smoke)
    large = arg.size == 896
    rate = 3e-3 if large else 2e-3
    config.optimizer = {
        "learning_rate": rate,
        "weight_decay": 0.05 if large else 1e-4,
        "no_decay": "bias|scale|table",
        "ema_decay": 0.9998,
    }
    config.schedule = {
        "warmup_steps": 6000,
        "decay_steps": 90_000 if large else 115_750,
        "end_value": 0.03 * rate,
    }
    steps = 115_750 if (arg.variant, arg.size) == ("maxvit_small", 896) else 90_000
    return finish(config, steps, arg.smoke)
