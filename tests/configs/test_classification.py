"""Recipes of classifiers carry the published numbers."""

import jax
import numpy as np
import pytest

import maxvit_jax
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD
from common.train.optimizer import decay_mask
from maxvit_jax.data_defaults import data_defaults
from tests.configs.recipes import (
    CHOICES,
    CHOSEN,
    DROP_PATH,
    VARIANTS,
    get,
    make_task,
    module,
)


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


@pytest.mark.parametrize("variant", ["poolformer_s12", "metaformer_ppaa_s12_224", "caformer_s18"])
def test_decay_is_left_out_of_vectors(variant):
    """timm's rule, arrays of one axis, is our pattern in these models."""
    model = maxvit_jax.create_model(variant, depths=(1, 1, 1, 1))
    images = np.zeros((1, 224, 224, 3), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    mask = decay_mask(params, get("poolformer").optimizer.no_decay)
    assert mask == jax.tree.map(lambda leaf: leaf.ndim > 1, params)


@pytest.mark.parametrize(
    ("size", "window", "mean"), [(224, 7, IMAGENET_MEAN), (384, 12, HALF_RANGE)]
)
def test_evaluation(size, window, mean):
    config = get("evaluate", f"size={size}")
    assert config.data.image_size == size and config.data.mean == mean
    assert config.model.window_size == window and config.data.eval_split == "validation"


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
