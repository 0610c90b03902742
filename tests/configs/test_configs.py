"""Every recipe holds together, carries the published numbers, and can be asked for in its words."""

import functools
import importlib
import pathlib
import re

import jax
import numpy as np
import pytest

import configs
import maxvit_jax
from common.data.pair_layouts import LAYOUTS
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD
from common.errors import UserError
from common.train.optimizer import decay_mask, make_optimizer
from common.train.schedule import make_schedule
from common.train.sections import parse_trainer_sections
from common.train.state import create_state, make_train_step
from launch import tasks
from maxim_jax.checkpoints import CHECKPOINTS
from maxvit_jax.data_defaults import data_defaults

FOLDER = pathlib.Path(configs.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
VARIANTS = ("tiny", "small", "base", "large", "xlarge")
DROP_PATH = {"tiny": 0.2, "small": 0.3, "base": 0.4, "large": 0.6, "xlarge": 0.7}

# What else than its defaults a file is asked for.
ARGUMENTS = {
    "evaluate": ["size=512"],
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
    "segment_shapes": ("tiny_moat_0+semantic_fpn", None, 4800, 8, 1.5e-3),
    "segment_coins": ("tiny_moat_0+semantic_fpn", None, 300, 8, 3e-3),
}
# The same of detection.
DETECTION = {
    "maxvit_coco": ("maxvit_tiny+cascade_mask_rcnn", 80, 90_000, 256, 2e-3),
    "poolformer_coco": ("poolformer_s12+retinanet", 80, 88_704, 16, 1e-4),
    "aewin_coco": ("aewin_tiny+mask_rcnn", 80, 88_704, 16, 1e-4),
    "caformer_coco": ("caformer_s18+mask_rcnn", 80, 88_704, 16, 1e-4),
    "moat_coco": ("tiny_moat_0+cascade_mask_rcnn", 80, 184_800, 64, 1e-4),
    "detect_shapes": ("tiny_moat_0+retinanet", None, 6000, 8, 2e-3),
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


def test_there_is_a_file_for_every_recipe():
    expected = {"maxvit_folder", *CHOICES}
    expected |= {f"{family}_digits" for family in maxvit_jax.FAMILIES}
    expected |= {"metaformer_ablation_digits"}
    expected |= {f"maxvit_{v}" for v in VARIANTS} | {f"maxvit_{v}_finetune" for v in VARIANTS}
    expected |= {f"maxvit_{v}_21k" for v in ("base", "large", "xlarge")}
    expected |= {"maxim_folder", "maxim_photos", *RESTORATION}
    expected |= {"segment_folder", *SEGMENTATION, "detect_folder", *DETECTION, *EVALUATION}
    expected |= QUALITY
    expected |= {"gan_folder", *GENERATION}
    assert set(FILES) == expected


# Published recipes of one variant have one step.
SAME_STEP = RESTORATION.keys() - {"maxim_s3_sidd", "maxim_s2_lol"}
# One block of each kind is the same at every width, and in recipes that differ in numbers alone.
SAME_CODE = {"moat_21k", "caformer_finetune", "convformer_finetune"}
SAME_CODE |= {"aewin_coco", "caformer_coco", "detect_coins", "detect_folder", "gan_folder"}
SAME_CODE |= {*(f"maxvit_{v}_ava" for v in VARIANTS[:3]), "quality_csv"}
# Their parts are in tests/models/test_every_detector.py and tests/heads, the wholes below.
SAME_CODE |= {"maxvit_coco", "moat_coco", "maxvit_coco_labels"}
SAME_CODE |= {"hit_imagenet128", "maxvit_gan_imagenet128"}  # see tests/models/test_hit_gan.py
SAME_CODE |= {f"maxvit_{v}{kind}" for v in VARIANTS[1:] for kind in ("", "_finetune", "_21k")}


@pytest.mark.parametrize("name", [name for name in FILES if name not in SAME_CODE | SAME_STEP])
def test_builds_with_one_block(name):
    """Of each kind: further ones repeat the first, see below. Recipes whose step is another's are
    compared by their sections."""
    config = get(name)
    if not {"depths", "backbone_fields"} & set(config.model):
        for field in ("depth", "high_res_stages", "num_supervision_scales"):
            config.model[field] = 1
    build_step(shortened(config))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arg"), [r for r in RECIPES if r[0] not in SAME_STEP])
def test_builds(name, arg):
    """At its size and depth."""
    build_step(get(name, arg))


def shortened(config):
    """The recipe of a model with one block per stage, or one stage and group."""
    model = make_task(config.copy_and_resolve_references()).model
    if "depths" in config.model:
        config.model.depths = (1,) * len(model.depths)
    elif "backbone_fields" in config.model:
        depths = model.make_backbone().depths
        config.model.backbone_fields.depths = (1,) * len(depths)
    else:
        for field in ("num_stages", "num_groups", "num_bottleneck_blocks"):
            config.model[field] = 1
    return config


@pytest.mark.parametrize("name", sorted(SAME_STEP))
def test_step_is_that_of_another_recipe(name):
    config, other = get(name), get("maxim_s3_sidd" if "_s3_" in name else "maxim_s2_lol")
    for section in ("model", "task", "optimizer"):
        assert config[section] == other[section]
    assert config.data.crop_size == other.data.crop_size


# ---------------------------------------------------------------- published numbers


@pytest.mark.parametrize("variant", VARIANTS)
def test_pretraining(variant):
    config = get(f"maxvit_{variant}")
    steps = 300 * 1_281_167 // 4096
    assert config.train.num_steps == config.schedule.decay_steps == steps == 93_835
    assert config.data.batch_size == 4096 and config.data.image_size == 224
    assert config.data.name == "imagenet2012" and config.data.source == "tfds"
    assert (config.data.train_split, config.data.eval_split) == ("train", "validation")
    assert config.optimizer.learning_rate == 3e-3 and config.schedule.kind == "cosine"
    assert config.schedule.warmup_steps == 10_000 and config.schedule.end_value == 1e-5
    assert config.optimizer.weight_decay == 0.05
    assert config.data.mean == IMAGENET_MEAN and config.data.std == IMAGENET_STD
    assert config.init.weights is None and not config.init.reset_head
    model = check_common(config, variant)
    assert model.window_size == 7 and model.bias_window_size is None
    assert model.drop_path_rate == DROP_PATH[variant]


@pytest.mark.parametrize("size", [384, 512])
@pytest.mark.parametrize("variant", VARIANTS)
def test_finetuning(variant, size):
    config = get(f"maxvit_{variant}_finetune", f"size={size}")
    assert config.train.num_steps == 30 * 1_281_167 // 512 == 75_068
    assert config.data.batch_size == 512 and config.data.image_size == size
    assert config.optimizer.learning_rate == 5e-5
    assert config.schedule.kind == "constant" and config.schedule.warmup_steps == 0
    assert config.optimizer.weight_decay == 1e-8
    assert config.data.mean == config.data.std == HALF_RANGE
    assert config.init.reset_head
    model = check_common(config, variant)
    assert model.window_size == size // 32 and model.bias_window_size == 7
    # 13 x 13 tables for windows of 7, resized in every pass.
    task = make_task(config)
    task.model = task.model.clone(depths=(1, 1, 1, 1))
    params = jax.eval_shape(task.init, jax.random.key(0))["params"]
    for partition in ("window", "grid"):
        table = params["stage_1_block_0"][partition]["attention"]["relative_bias"]["table"]
        assert table.shape[1:] == (13, 13)


def check_common(config, variant):
    """Checks what the official recipes share, and returns the model."""
    assert config.optimizer.clip_norm == 1.0
    assert config.optimizer.ema_decay == 0.9999
    assert config.optimizer.no_decay == "bias|scale"
    assert config.task.label_smoothing == 0.1
    assert config.task.mixup_alpha == 0.8 and config.task.cutmix_alpha == 0
    data = config.data
    assert (data.randaugment_layers, data.randaugment_magnitude) == (2, 15)
    assert (data.crop, data.min_area, data.flip, data.shift) == ("inception", 0.08, True, 0)
    assert data.interpolation == "legacy_bicubic" and data.eval_method == "official"
    model = make_task(config).model
    assert config.model.name == f"maxvit_{variant}"
    assert model.num_classes == 1000 and model.dtype == "bfloat16"
    return model


@pytest.mark.parametrize("variant", ["base", "large", "xlarge"])
def test_pretraining_on_21k(variant):
    config = get(f"maxvit_{variant}_21k")
    assert config.data.source == "folder" and config.data.batch_size == 4096
    assert config.train.num_steps == config.schedule.decay_steps == 90 * 14_197_122 // 4096
    assert config.schedule.warmup_steps == 5 * 14_197_122 // 4096
    assert config.optimizer.learning_rate == 1e-3 and config.optimizer.weight_decay == 0.01
    assert config.task.mixup_alpha == 0 and config.data.randaugment_layers == 0
    assert config.data.mean == config.data.std == HALF_RANGE


METAFORMERS = ("poolformer", "metaformer_baselines", "caformer", "convformer")


@pytest.mark.parametrize(("name", "variant"), [c for c in CHOSEN if c[0] in METAFORMERS])
def test_metaformers(name, variant):
    """Against the release's training scripts."""
    config = get(name, f"variant={variant}")
    assert config.model.name == variant
    batch_size, learning_rate, warmup = {
        "poolformer": (1024, 1e-3, 5),
        "metaformer_baselines": (4096, 4e-3, 5),
        "caformer": (4096, 8e-3, 20),
        "convformer": (4096, 4e-3, 20),
    }[name]
    assert config.data.batch_size == batch_size
    assert config.optimizer.learning_rate == learning_rate
    schedule = config.schedule
    assert (schedule.kind, schedule.decay_from) == ("cosine", "start")
    assert (schedule.init_value, schedule.end_value) == (1e-6, 1e-5)
    assert schedule.decay_steps == 300 * 1_281_167 // batch_size
    assert schedule.warmup_steps == warmup * 1_281_167 // batch_size
    assert config.train.num_steps == 310 * 1_281_167 // batch_size  # cool-down
    assert config.optimizer.ema_decay is None
    assert config.task.mixup_alpha == 0.8 and config.task.cutmix_alpha == 1.0
    assert config.init.weights is None
    model = check_as_timm(config, name)
    family, size = variant.removesuffix("_224").rsplit("_", 1)
    rates = {"s12": 0.1, "s24": 0.1, "s36": 0.2, "m36": 0.3, "m48": 0.4}
    if family == "caformer":
        rates = {"s18": 0.15, "s36": 0.3, "m36": 0.4, "b36": 0.6}
        assert model.head_dropout == {"s18": 0, "s36": 0.4, "m36": 0.4, "b36": 0.5}[size]
    else:
        assert model.head_dropout == 0
    if family == "convformer":
        rates = {"s18": 0.2, "s36": 0.3, "m36": 0.4, "b36": 0.6}
    if family == "randformer":
        rates |= {"m48": 0.3}
    assert model.drop_path_rate == rates[size]
    wide = size in ("m36", "m48") or family[11:] in ("pppa", "ppaa", "ppff")
    crop = 1.0 if name != "poolformer" else 0.95 if wide else 0.9
    assert config.data.eval_crop_fraction == crop


@pytest.mark.parametrize(("name", "variant"), [c for c in CHOSEN if c[0].endswith("er_finetune")])
def test_metaformers_finetuned(name, variant):
    config = get(name, f"variant={variant}")
    assert config.train.num_steps == 30 * 1_281_167 // 1024 and config.data.batch_size == 1024
    assert config.data.image_size == 384 and config.data.eval_crop_fraction == 1.0
    assert config.schedule.kind == "constant" and config.schedule.warmup_steps == 0
    assert config.optimizer.ema_decay == 0.9999
    assert config.task.mixup_alpha == config.task.cutmix_alpha == 0
    assert config.init.weights == "" and not config.init.reset_head
    model = check_as_timm(config, name)
    assert (config.optimizer.learning_rate, model.drop_path_rate, model.head_dropout) == {
        "caformer_s18": (1e-4, 0.3, 0.4),
        "caformer_s36": (1e-4, 0.5, 0.4),
        "caformer_m36": (1e-4, 0.7, 0.4),
        "caformer_b36": (1e-4, 0.8, 0.5),
        "convformer_s18": (5e-5, 0.3, 0.4),
        "convformer_s36": (5e-5, 0.5, 0.4),
        "convformer_m36": (5e-5, 0.8, 0.5),
        "convformer_b36": (5e-5, 0.8, 0.5),
    }[variant]
    assert get(name, f"variant={variant},size=512").data.image_size == 512


def check_as_timm(config, name):
    """Checks what the recipes of timm's definitions share, and returns the model."""
    optimizer, data = config.optimizer, config.data
    lamb = name.startswith("caformer")
    expected = ("lamb", 1e-6, 1.0) if lamb else ("adamw", 1e-8, None)
    assert (optimizer.kind, optimizer.eps, optimizer.clip_norm) == expected
    assert optimizer.weight_decay == 0.05 and (optimizer.b1, optimizer.b2) == (0.9, 0.999)
    assert config.task.label_smoothing == 0.1 and config.task.erase_probability == 0.25
    assert (data.source, data.name) == ("tfds", "imagenet2012")
    assert (data.randaugment, data.randaugment_layers) == ("increasing", 2)
    assert data.randaugment_magnitude == 9
    assert (data.crop, data.min_area, data.interpolation) == ("random_resized", 0.08, "random")
    assert data.flip and data.shift == 0 and data.eval_method == "standard"
    assert data.mean == IMAGENET_MEAN and data.std == IMAGENET_STD
    model = make_task(config).model
    assert model.num_classes == 1000 and model.dtype == "bfloat16"
    return model


@pytest.mark.parametrize("variant", CHOICES["moat"])
def test_moat(variant):
    config = get("moat", f"variant={variant}")
    assert config.train.num_steps == config.schedule.decay_steps == 300 * 1_281_167 // 4096
    assert config.data.image_size == (256 if variant.startswith("tiny") else 224)
    assert config.data.mean == IMAGENET_MEAN and config.data.eval_method == "official"
    model = make_task(config).model
    rates = {"moat_0": 0.2, "moat_1": 0.3, "moat_2": 0.3, "moat_3": 0.6, "moat_4": 0.7}
    assert model.drop_path_rate == (rates | {"tiny_moat_3": 0.1}).get(variant, 0)
    assert model.pool_size == 2 and model.window_size is None


def test_moat_from_21k():
    config = get("moat_21k")
    assert config.train.num_steps == config.schedule.decay_steps == 90 * 14_197_122 // 4096
    assert config.data.image_size == 224 and config.data.mean == config.data.std == HALF_RANGE
    config = get("moat_finetune", "variant=moat_4,size=512")
    assert config.train.num_steps == 30 * 1_281_167 // 512 and config.init.reset_head
    assert config.data.image_size == 512 and config.data.mean == config.data.std == HALF_RANGE
    assert make_task(config).model.bias_window_size == (None, None, 14, 7)


@pytest.mark.parametrize("variant", CHOICES["aewin"])
def test_aewin(variant):
    config = get("aewin", f"variant={variant}")
    assert config.train.num_steps == config.schedule.decay_steps == 300 * 1_281_167 // 1024
    assert config.data.batch_size == 1024 and config.optimizer.learning_rate == 1e-3
    assert make_task(config).model.drop_path_rate > 0


@pytest.mark.parametrize(("name", "variant"), [c for c in CHOSEN if c[0] != "moat_21k"])
def test_published_weights_of_the_recipe(name, variant):
    """The docstring has their result, and images are evaluated as for them."""
    data = get(name, f"variant={variant}").data
    family = next(f for f in maxvit_jax.FAMILIES.values() if variant in f.variants)
    published = family.published.get(variant, {}).get(data.image_size)
    if published is None:
        return
    assert f"{published:.1f}" in module(name).__doc__
    for field, value in vars(data_defaults(variant, data.image_size)).items():
        # The training resize stands there; evaluation makes it bicubic where it must.
        assert data[field] == value or field == "interpolation", field


@pytest.mark.parametrize("name", SEGMENTATION | DETECTION)
def test_dense_recipes(name):
    config = get(name)
    model, classes, steps, batch, rate = (SEGMENTATION | DETECTION)[name]
    assert config.model.name == model and config.model.num_classes == classes
    assert config.train.num_steps == steps
    if name != "maxvit_coco":  # whose cosine would go on
        assert config.schedule.decay_steps == steps
    assert config.data.batch_size == batch and config.optimizer.learning_rate == rate
    if classes:  # published: somebody's backbone
        assert config.init.weights == ""
        assert make_task(config).model.make_backbone().pad_inputs


def test_segmentation_as_published():
    pool, moat, window = (get(n) for n in ("poolformer_ade20k", "moat_ade20k", "aewin_ade20k"))
    assert pool.task.normaliser == "all" and pool.schedule.power == 0.9
    assert pool.data.resize == (2048, 512) and pool.data.photometric
    assert pool.model.backbone_fields.feature_norms and pool.optimizer.no_decay == ""
    assert window.model.auxiliary_channels == 256 and window.task.auxiliary_weight == 0.4
    assert window.schedule.power == 1 and window.schedule.warmup_steps == 1500
    backbone = make_task(moat).model.make_backbone()
    assert backbone.feature_strides["stage_4"] == 16 and backbone.window_size is None
    assert moat.optimizer.groups[0]["learning_rate_factor"] == 0.1
    garden = make_task(get("maxvit_coco_labels")).model.make_backbone()
    assert garden.window_size == 20 and garden.bias_window_size == 7
    assert get("maxvit_voc").model.head_fields.fusion == "sum"


@pytest.mark.parametrize("variant", ["poolformer_s12", "metaformer_ppaa_s12_224", "caformer_s18"])
def test_decay_is_left_out_of_vectors(variant):
    """timm's rule, arrays of one axis, is our pattern in these models."""
    model = maxvit_jax.create_model(variant, depths=(1, 1, 1, 1))
    images = np.zeros((1, 224, 224, 3), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    mask = decay_mask(params, get("poolformer").optimizer.no_decay)
    assert mask == jax.tree.map(lambda leaf: leaf.ndim > 1, params)


@pytest.mark.parametrize("name", RESTORATION)
def test_restoration(name):
    config, (steps, finetuned) = get(name), RESTORATION[name]
    row = next(row for row in CHECKPOINTS if name == f"{row.model}_{row.data_set}")
    assert config.model.name == row.model
    assert f"Published: {row.psnr:.2f} dB PSNR, {row.ssim:.3f} SSIM" in module(name).__doc__
    assert config.train.num_steps == config.schedule.decay_steps == steps
    assert config.data.source == "pairs" and config.data.layout == row.data_set
    assert config.data.layout in LAYOUTS
    assert (config.init.weights == "") == finetuned
    assert config.data.batch_size == 256 and config.data.crop_size == 256
    assert config.data.flip and config.data.rotate and not config.data.degradations
    assert config.task.charbonnier_eps == 1e-3 and config.task.frequency_weight == 0.1
    assert config.task.mixup_probability == 0.5 and config.task.mixup_alpha == 1.2
    assert (config.optimizer.learning_rate, config.schedule.end_value) == (2e-4, 1e-7)
    assert config.optimizer.weight_decay == 0 and config.schedule.warmup_steps == 0
    model = make_task(config).model
    assert model.num_supervision_scales == 3 and model.remat and model.dtype == "bfloat16"


def test_there_is_a_recipe_for_every_published_checkpoint():
    """Two of the thirteen rows test the weights of another on other data."""
    assert {f"{row.model}_{row.data_set}" for row in CHECKPOINTS} - RESTORATION.keys() == {
        "maxim_s3_dnd",
        "maxim_s3_hide",
    }


def test_photos_are_denoised_at_sigma_25():
    config = get("maxim_photos")
    assert config.data.source == "photos"
    assert config.data.degradations == ({"kind": "gaussian_noise", "sigma": 25.0},)


# ---------------------------------------------------------------- how it is asked for


@pytest.mark.parametrize(
    ("size", "window", "mean"), [(224, 7, IMAGENET_MEAN), (384, 12, HALF_RANGE)]
)
def test_evaluation(size, window, mean):
    config = get("evaluate", f"size={size}")
    assert config.data.image_size == size and config.data.mean == mean
    assert config.model.window_size == window and config.data.eval_split == "validation"


@pytest.mark.parametrize("name", [name for name in FILES if name not in EVALUATION])
def test_smoke_is_short(name):
    if name.endswith("_folder") or name == "quality_csv":
        assert get(name, "steps=3").train.num_steps == 3
        return
    config = get(name, "smoke=true")
    assert config.train.num_steps <= 20 and config.data.num_workers == 0
    assert config.eval.every_steps >= config.train.num_steps


@pytest.mark.parametrize(
    ("name", "arg", "message"),
    [
        ("maxvit_tiny", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("maxvit_tiny", "size=384", "config argument 'size': choose from smoke"),
        ("maxvit_tiny_finetune", "size=big", "expected size=<int>"),
        ("maxvit_tiny_finetune", "size=400", "size=400: must be a multiple of 32"),
        ("maxvit_base_21k", "smoke", "expected smoke=<bool>"),
        ("maxvit_folder", "variant=maxvit_tinny", "did you mean 'maxvit_tiny'"),
        ("caformer", "variant=caformer_s16", "config argument variant=caformer_s16: did you mean"),
        ("poolformer", "variant=caformer_s18", "did you mean 'poolformer_s12'"),
        ("metaformer_baselines", "variant=randformer", "did you mean 'randformer_s"),
        ("convformer_finetune", "size=big", "expected size=<int>"),
        ("moat", "variant=moat_5", "did you mean 'moat_"),
        ("moat_finetune", "variant=tiny_moat_0", "did you mean 'moat_"),
        ("aewin", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("maxim_folder", "variant=maxim_s4", "unknown model 'maxim_s4'"),
        ("maxim_s2_lol", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("evaluate", "size=0", "size=0: must be a multiple of 32"),
        ("evaluate", "sise=384", "config argument 'sise': did you mean 'size'?"),
        ("maxvit_digits", "smoke=yes", "expected smoke=<bool>"),
        ("segment_folder", "head=upernets", "head=upernets: did you mean 'upernet'?"),
        (
            "segment_folder",
            "backbone=poolformer",
            "backbone=poolformer: did you mean 'poolformer_s",
        ),
        ("moat_ade20k", "variant=moat_5", "did you mean 'moat_"),
        ("gan_folder", "model=hit_gan_63", "model=hit_gan_63: did you mean 'hit_gan_"),
    ],
)
def test_wrong_arguments(name, arg, message):
    with pytest.raises(UserError, match=re.escape(message)):
        get(name, arg)


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_section_is_there(name):
    """Else the command line could not override it, and config.json would not tell the story."""
    config = get(name)
    task = make_task(get(name))
    sections = parse_trainer_sections(config.to_dict())
    sections |= {"data": task.data, "task": task.task_config, "init": task.init_config}
    for section, parsed in sections.items():
        assert set(config[section]) == set(vars(parsed)), section
    fields = set(type(task.model).__dataclass_fields__) - {"parent"}
    assert set(config.model) == fields  # "name" is the variant's


@pytest.mark.parametrize("variant", ["moat_0", "caformer_s18", "poolformer_m36", "aewin_tiny"])
def test_own_images_for_every_family(variant):
    config = get("maxvit_folder", f"variant={variant},size=192")
    data, defaults = config.data, data_defaults(variant, 192)
    assert data.image_size == 192 and data.eval_crop_fraction == defaults.eval_crop_fraction
    assert data.eval_method == defaults.eval_method and data.mean == defaults.mean
    assert make_task(config).model.pad_inputs


def test_variant_can_be_changed_from_outside():
    config = get("maxvit_folder")
    config.model.name = "maxvit_base"
    model = make_task(config).model
    assert model.widths == (96, 192, 384, 768) and model.drop_path_rate == DROP_PATH["base"]


@pytest.mark.parametrize("name", [name for name in FILES if name not in EVALUATION])
def test_docstring_says_how_to_run_the_file(name):
    text = module(name).__doc__
    commands = re.findall(r"python -m launch\.train ((?:.*\\\n)*.*)", text)
    assert commands
    for command in commands:
        assert f"--config=configs/{name}.py" in command and "--workdir=" in command
        for field in re.findall(r"--config\.([\w.]+)=", text):
            section, key = field.split(".")
            assert key in get(name)[section]
    if "Published" in text:
        assert "Recipe:" in text and "Hardware:" in text
    named = {*RESTORATION, *CHOICES, *SEGMENTATION, *DETECTION, *GENERATION}
    if "Published" in text and name not in named:
        letter = {"tiny": "T", "small": "S", "base": "B", "large": "L", "xlarge": "XL"}
        assert text.startswith(f"MaxViT-{letter[name.split('_')[1]]} ")


def test_detection_as_published():
    """MaxViT against Model Garden's files; the others against mmdetection's."""
    config = get("maxvit_coco", "variant=maxvit_small,size=896")
    assert config.train.num_steps == 115_750 and config.schedule.decay_steps == 90_000
    assert config.optimizer.learning_rate == 3e-3 and config.optimizer.weight_decay == 0.05
    assert config.model.backbone_fields.window_size == 28
    assert config.model.backbone_fields.drop_path_rate == 0.5
    model = make_task(config).model
    assert model.iou_thresholds == (0.6, 0.7) and model.convention == "mg"
    assert model.strides == [8, 16, 32, 64, 128]
    config = get("maxvit_coco", "variant=maxvit_base,head=retinanet")
    assert config.optimizer.kind == "sgd" and config.optimizer.learning_rate == 0.32
    assert make_task(config).model.strides == [8, 16, 32, 64, 128]
    config = get("poolformer_coco", "variant=poolformer_s24,head=mask_rcnn")
    assert config.optimizer.learning_rate == 2e-4 and config.optimizer.no_decay == ""
    assert config.schedule.milestones == (59_136, 81_312) and config.data.resize == (1333, 800)
    assert make_task(config).model.strides == [4, 8, 16, 32, 64]
    assert make_task(get("moat_coco")).model.scale_gradient


@pytest.mark.parametrize("size", [224, 384, 512])
@pytest.mark.parametrize("variant", VARIANTS[:3])
def test_ava(variant, size):
    """From weights of 224: the head starts fresh, and the rest learns at a tenth of its rate."""
    config = get(f"maxvit_{variant}_ava", f"size={size}")
    assert config.model.name == f"maxvit_{variant}" and config.data.image_size == size
    assert config.init.reset_head and config.init.weights == ""
    assert config.data.source == "ava" and config.data.crop == "resize" and config.data.flip
    model = make_task(config).model
    assert (model.num_classes, model.head_dropout) == (10, 0.75)
    assert model.window_size == size // 32 and model.bias_window_size == 7
    (group,) = config.optimizer.groups
    assert group["learning_rate_factor"] == 0.1
    assert re.search(group["pattern"], "stage_1_block_0/mbconv/norm/scale")
    assert not re.search(group["pattern"], "head/logits/kernel")


def test_sizes_of_ava_are_three():
    with pytest.raises(UserError, match="size=256: choose from 224, 384, 512"):
        get("maxvit_tiny_ava", "size=256")


def test_quality_of_ones_own():
    config = get("quality_csv", "backbone=caformer_s18,scores=5,pretrained=false")
    assert config.data.scores == (1, 2, 3, 4, 5) and config.task.threshold == 3
    assert config.init.weights is None and not config.init.reset_head
    assert config.optimizer.groups == () and make_task(config).model.num_classes == 5
    config = get("quality_csv")
    assert config.init.weights == "" and config.init.reset_head
    assert config.optimizer.groups[0]["pattern"] == "^(?!head/)"


@pytest.mark.parametrize("name", GENERATION)
def test_generation(name):
    config = get(name)
    model, steps, batch, rate = GENERATION[name]
    assert config.model.name == model and config.train.num_steps == steps
    assert config.data.batch_size == batch and config.optimizer.learning_rate == rate
    assert (config.optimizer.b1, config.optimizer.b2) == (0, 0.99)
    assert config.schedule.kind == "constant" and config.optimizer.ema_start == 10
    assert config.task.loss == "non_saturating"


def test_generation_as_published():
    """Against HiT-GAN's README and the defaults of its flags."""
    hit, maxvit = get("hit_imagenet128"), get("maxvit_gan_imagenet128")
    for config in (hit, maxvit):
        assert (config.task.r1_weight, config.task.r1_every) == (10, 1)
        assert not config.task.augment and not config.task.consistency_weight
        assert config.optimizer.ema_decay == 0.999 and not config.optimizer.weight_decay
        assert config.data.crop_fraction == 0.875 and config.data.flip
        assert (config.data.name, config.data.eval_split) == ("imagenet2012", "validation")
    task = make_task(hit)
    assert task.model.latent_dim == 256 and not task.model.minibatch_stddev
