"""Recipes of segmentation, detection, quality and generation carry the published numbers."""

import re

import pytest

from common.errors import UserError
from tests.configs.recipes import (
    DETECTION,
    GENERATION,
    SEGMENTATION,
    VARIANTS,
    get,
    make_task,
)


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
