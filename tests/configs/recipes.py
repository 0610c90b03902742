"""All recipes, by name, and how tests ask for them."""

import functools
import importlib
import pathlib

import jax

import configs
from common.train.optimizer import make_optimizer
from common.train.schedule import make_schedule
from common.train.sections import parse_trainer_sections
from common.train.state import create_state, make_train_step
from launch import tasks

FOLDER = pathlib.Path(configs.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
VARIANTS = ("tiny", "small", "base", "large", "xlarge")
DROP_PATH = {"tiny": 0.2, "small": 0.3, "base": 0.4, "large": 0.6, "xlarge": 0.7}
# What else than its defaults a file is asked for.
ARGUMENTS = {
    "evaluate": ["size=512"],
    "finetune": ["mode=probe,size=256x192", "model=caformer_s18,multilabel=true"],
    "gan_folder": ["model=maxvit_gan_32,steps=50"],
    "maxim_folder": ["variant=maxim_m1,size=128,steps=50"],
    "maxvit_folder": ["variant=maxvit_small,size=160,steps=50"],
    "maxvit_tiny_ava": ["size=512"],
    "maxvit_tiny_finetune": ["size=512"],
    "quality_csv": ["backbone=caformer_s18,scores=5"],
}
RECIPES = [(name, arg) for name in FILES for arg in ("", *ARGUMENTS.get(name, []))]
SIMPLE = ("s12", "s24", "s36", "m36", "m48")
ABLATIONS = ("id_s12", "pppa_s12_224", "ppaa_s12_224", "pppf_s12_224", "ppff_s12_224")
CONV = ("s18", "s36", "m36", "b36")


def named(family, sizes):
    return [f"{family}_{size}" for size in sizes]


# Of each recipe with a choice: its variants, the first by default.
CHOICES = {
    "aewin": named("aewin", ("tiny", "small", "base")),
    "caformer": named("caformer", CONV),
    "caformer_finetune": named("caformer", CONV),
    "convformer": named("convformer", CONV),
    "convformer_finetune": named("convformer", CONV),
    "metaformer_baselines": named("poolformerv2", SIMPLE)
    + named("identityformer", SIMPLE)
    + named("randformer", SIMPLE),
    "moat": named("moat", range(5)) + named("tiny_moat", range(4)),
    "moat_21k": ["moat_2", "moat_0", "moat_1", "moat_3", "moat_4"],
    "moat_finetune": ["moat_2", "moat_0", "moat_1", "moat_3", "moat_4"],
    "poolformer": named("poolformer", SIMPLE) + named("metaformer", ABLATIONS),
}
CHOSEN = [(name, variant) for name, variants in CHOICES.items() for variant in variants]
# Of each published checkpoint of MAXIM: optimizer steps, and whether it starts from other weights.
RESTORATION = {
    "maxim_s3_sidd": (600_000, False),
    "maxim_s3_gopro": (600_000, False),
    "maxim_s3_reds": (10_000, True),
    "maxim_s3_realblur_r": (70_000, True),
    "maxim_s3_realblur_j": (70_000, True),
    "maxim_s2_rain13k": (500_000, False),
    "maxim_s2_raindrop": (80_000, False),
    "maxim_s2_reside_indoor": (500_000, False),
    "maxim_s2_reside_outdoor": (500_000, False),
    "maxim_s2_lol": (14_000, False),
    "maxim_s2_fivek": (180_000, False),
}
# Recipes of segmentation: backbone and head, classes, steps, batch, peak learning rate.
SEGMENTATION = {
    "poolformer_ade20k": ("poolformer_s12+semantic_fpn", 150, 40_000, 32, 2e-4),
    "moat_ade20k": ("tiny_moat_0+deeplabv3plus", 150, 100_000, 64, 5e-4),
    "aewin_ade20k": ("aewin_tiny+upernet", 150, 160_000, 16, 6e-5),
    "caformer_ade20k": ("caformer_s18+upernet", 150, 160_000, 16, 6e-5),
    "maxvit_voc": ("maxvit_small+fpn_concat", 21, 20_000, 32, 5e-4),
    "maxvit_coco_labels": ("maxvit_small+fpn_concat", 91, 90_000, 32, 5e-4),
    "segment_shapes": ("tiny_moat_0+semantic_fpn", None, 3600, 8, 1.5e-3),
    "segment_coins": ("tiny_moat_0+semantic_fpn", None, 300, 8, 3e-3),
}
# The same of detection.
DETECTION = {
    "maxvit_coco": ("maxvit_tiny+cascade_mask_rcnn", 80, 90_000, 256, 2e-3),
    "poolformer_coco": ("poolformer_s12+retinanet", 80, 88_704, 16, 1e-4),
    "aewin_coco": ("aewin_tiny+mask_rcnn", 80, 88_704, 16, 1e-4),
    "caformer_coco": ("caformer_s18+mask_rcnn", 80, 88_704, 16, 1e-4),
    "moat_coco": ("tiny_moat_0+cascade_mask_rcnn", 80, 184_800, 64, 1e-4),
    "detect_shapes": ("tiny_moat_0+retinanet", None, 5000, 8, 2e-3),
    "detect_coins": ("tiny_moat_0+retinanet", None, 300, 4, 3e-3),
}
# The same of generation: model, steps, batch, learning rate.
GENERATION = {
    "hit_imagenet128": ("hit_gan_128", 1_000_000, 256, 1e-4),
    "maxvit_gan_imagenet128": ("maxvit_gan_128", 1_000_000, 256, 1e-4),
    "gan_digits": ("hit_gan_32", 1500, 32, 1e-3),
}
EVALUATION = {"evaluate", "evaluate_segmentation", "evaluate_detection"}
QUALITY = {*(f"maxvit_{v}_ava" for v in VARIANTS[:3]), "quality_csv", "quality_photos"}


def module(name):
    return importlib.import_module(f"configs.{name}")


def get(name, arg=""):
    return module(name).get_config(arg) if arg else module(name).get_config()


def make_task(config):
    """The task without its data: where the classes follow the data, there are ten."""
    if "num_classes" in config.model and "scores" not in config.data:
        config.model.num_classes = config.model.num_classes or 10
    return tasks.make_task(config)


def build_step(config):
    """Traces model and training step at the recipe's size, and checks that the state keeps its
    shape."""
    task = make_task(config)
    sections = parse_trainer_sections(config.to_dict())
    cfg = sections["optimizer"]
    optimizer = make_optimizer(cfg, make_schedule(sections["schedule"], cfg.learning_rate))
    create = functools.partial(create_state, optimizer=optimizer, ema=cfg.ema_decay is not None)
    state = jax.eval_shape(lambda rng: create(task.init(rng)), jax.random.key(0))
    step = make_train_step(task, optimizer, seed=config.seed, ema_decay=cfg.ema_decay)
    new_state, metrics = jax.eval_shape(step, state, task.abstract_batch(2))
    assert jax.tree.map(jax.typeof, new_state) == jax.tree.map(jax.typeof, state)
    assert {"loss", "grad_norm"} < metrics.keys()
    assert all(value.shape == () for value in metrics.values())


def shortened(config, blocks=1):
    """The recipe of a model with at most so many blocks per stage, or stages of one group each."""
    model = make_task(config.copy_and_resolve_references()).model
    if "depths" in config.model:
        config.model.depths = tuple(min(depth, blocks) for depth in model.depths)
    elif "backbone_fields" in config.model:
        depths = model.make_backbone().depths
        config.model.backbone_fields.depths = tuple(min(depth, blocks) for depth in depths)
    else:
        config.model.num_stages = min(model.num_stages, blocks)
        config.model.num_groups = config.model.num_bottleneck_blocks = 1
    return config
