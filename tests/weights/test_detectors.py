"""Detectors' weights: mmdetection's names both ways, our directories, and backbones alone."""

import functools
import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.data.coco_annotations import COCO_IDS
from common.errors import UserError
from common.weights.mapping import flatten
from maxvit_jax import detectors, segmenters
from maxvit_jax.dense_weights import backbone_of_weights, holds_head, info_of_weights
from maxvit_jax.detector_info import meaning_of_weights
from tests.golden.cases import write_arrays
from tests.golden.weights import make_variables
from tests.heads import micro

IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
# As in mmdetection's files for PoolFormer.
NAMES = {
    "retinanet": (
        "backbone.network.2.0.mlp.fc1.weight",
        "backbone.norm6.weight",
        "neck.lateral_convs.2.conv.weight",
        "neck.fpn_convs.4.conv.bias",
        "bbox_head.cls_convs.0.conv.weight",
        "bbox_head.reg_convs.0.conv.bias",
        "bbox_head.retina_cls.weight",
        "bbox_head.retina_reg.bias",
    ),
    "mask_rcnn": (
        "backbone.norm0.weight",
        "neck.lateral_convs.3.conv.weight",
        "neck.fpn_convs.3.conv.weight",
        "rpn_head.rpn_conv.weight",
        "rpn_head.rpn_cls.bias",
        "rpn_head.rpn_reg.weight",
        "roi_head.bbox_head.shared_fcs.0.weight",
        "roi_head.bbox_head.shared_fcs.1.bias",
        "roi_head.bbox_head.fc_cls.weight",
        "roi_head.bbox_head.fc_reg.weight",
        "roi_head.mask_head.convs.3.conv.weight",
        "roi_head.mask_head.upsample.weight",
        "roi_head.mask_head.conv_logits.bias",
    ),
}


@functools.cache
def made(head, **fields):
    model = micro.detector(head=head, **fields)
    return model, make_variables(model, IMAGES)


def assert_same(got, want):
    got, want = flatten(got), flatten(want)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


@functools.cache
def arrays_of(head):
    """Arrays under mmdetection's names."""
    return detectors.export_weights(*made(head), "official")


@pytest.fixture(params=NAMES)
def mmdetection(request, tmp_path):
    """A kind of detector, and a file of such a one under mmdetection's names."""
    head = request.param
    return head, write_arrays(tmp_path / "model.pth", arrays_of(head), "pth")


def test_mmdetections_names_go_both_ways(mmdetection):
    head, path = mmdetection
    model, variables = made(head)
    arrays = arrays_of(head)
    assert not set(NAMES[head]) - arrays.keys()
    _, loaded, report = detectors.load_with_report(model, path)
    assert report.used == len(arrays) and not report.left and not report.fresh
    assert_same(loaded, variables)


def test_a_missing_and_an_odd_array_are_named(mmdetection):
    head, path = mmdetection
    arrays = dict(arrays_of(head))
    arrays["bbox_head.odd.weight"] = arrays.pop("neck.fpn_convs.1.conv.bias")
    path = write_arrays(f"{path}.npz", arrays, "npz")
    with pytest.raises(UserError) as info:
        detectors.load_pretrained(made(head)[0], path)
    assert "neck.fpn_convs.1.conv.bias" in str(info.value)
    assert "bbox_head.odd.weight" in str(info.value)


def test_the_number_of_classes_follows_the_file(mmdetection):
    head, path = mmdetection
    name = f"poolformer_s12+{head}"
    # By name, with the fields that no file tells.
    model, _ = made(head)
    fields = {"channels": 8, "backbone_fields": model.backbone_fields}
    fields |= {"depth": 1} if head == "retinanet" else {"box_channels": 8}
    loaded, _ = detectors.load_pretrained(name, path, **fields)
    assert loaded.num_classes == 4
    with pytest.raises(UserError, match="the file has 4 classes: num_classes=7 as an argument"):
        detectors.load_pretrained(micro.detector(head=head, num_classes=7), path)


@pytest.mark.parametrize("head", NAMES)
def test_other_classes_start_the_last_layers_fresh(head, tmp_path):
    model, variables = made(head)
    detectors.save_pretrained(tmp_path / "own", model, variables)
    name = f"poolformer_s12+{head}"
    _, other, report = detectors.load_with_report(name, tmp_path / "own", num_classes=7)
    last = {
        "retinanet": {"head/class_logits"},
        "mask_rcnn": {"box_head_0/logits", "box_head_0/deltas", "mask_head/logits"},
    }
    assert {n.partition("/")[2].rpartition("/")[0] for n in report.fresh} == last[head]
    kept = {n: a for n, a in flatten(variables).items() if n not in report.fresh}
    assert_same({n: a for n, a in flatten(other).items() if n in kept}, kept)


@pytest.mark.parametrize(
    "head, fields", [("cascade_mask_rcnn", {}), ("mask_rcnn", {"convention": "mg"})]
)
def test_what_nobody_published_is_read_from_our_format_alone(head, fields, tmp_path):
    model, variables = made(head, **fields)
    path = write_arrays(tmp_path / "model.npz", arrays_of("mask_rcnn"), "npz")
    with pytest.raises(UserError, match="there are no weights in another, load a directory of"):
        detectors.load_pretrained(model, path)
    with pytest.raises(UserError, match="unknown weight source 'official'"):
        detectors.export_weights(model, variables, "official")
    detectors.save_pretrained(tmp_path / "own", model, variables)
    loaded, again = detectors.load_pretrained(f"poolformer_s12+{head}", tmp_path / "own")
    assert loaded.make_backbone() == model.make_backbone()
    for field in ("convention", "iou_thresholds", "stage_weights", "class_agnostic", "channels"):
        assert getattr(loaded, field) == getattr(model, field)
    assert_same(again, variables)


def test_a_detector_is_no_other(tmp_path):
    model, variables = made("mask_rcnn")
    detectors.save_pretrained(tmp_path / "own", model, variables)
    for head in ("retinanet", "cascade_mask_rcnn"):
        words = rf"holds poolformer_s12\+mask_rcnn, not poolformer_s12\+{head}"
        with pytest.raises(UserError, match=words):
            detectors.load_pretrained(f"poolformer_s12+{head}", tmp_path / "own")
    path = write_arrays(tmp_path / "model.npz", arrays_of("retinanet"), "npz")
    with pytest.raises(UserError, match=r"roi_head\.|rpn_head\."):
        detectors.load_pretrained(model, path)


def test_the_backbone_of_any_detector_is_a_backbone(mmdetection, tmp_path):
    head, path = mmdetection
    model, variables = made(head)
    detectors.save_pretrained(tmp_path / "own", model, variables)
    segmenter = micro.create(num_classes=3)
    for place in (path, tmp_path / "own"):
        _, loaded, report = maxvit_jax.load_with_report(model.make_backbone(), place)
        assert_same(loaded["params"], variables["params"]["backbone"])
        assert any("head" in name for name in report.left)
        found = backbone_of_weights(segmenter, place, segmenters.example_images(segmenter))
        assert_same(found["params"], {"backbone": variables["params"]["backbone"]})
    classifier, _ = maxvit_jax.load_pretrained("poolformer_s12", tmp_path / "own", num_classes=5)
    assert classifier.widths == (8, 16, 16, 32) and classifier.num_classes == 5


def test_a_backbone_alone_fills_a_detectors(tmp_path):
    model, variables = made("mask_rcnn")
    backbone = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    maxvit_jax.save_pretrained(tmp_path / "backbone", model.make_backbone(), backbone)
    images = detectors.example_images(model)
    found = backbone_of_weights(model, tmp_path / "backbone", images)
    assert_same(found, {"params": {"backbone": backbone["params"]}})
    with pytest.raises(UserError, match=r"holds a model of another family, not"):
        detectors.load_pretrained("poolformer_s12+mask_rcnn", tmp_path / "backbone")


def test_which_files_have_a_head(mmdetection, tmp_path):
    head, path = mmdetection
    model, variables = made(head)
    detectors.save_pretrained(tmp_path / "own", model, variables)
    assert holds_head(path, head) and holds_head(tmp_path / "own", head)
    assert not holds_head(tmp_path / "own", "cascade_mask_rcnn")


def test_what_numbers_mean_stands_with_the_weights(tmp_path):
    model, variables = made("retinanet")
    info = {
        "preprocessing": {
            "mean": [1.0] * 3,
            "std": [2.0] * 3,
            "resize": [64, 32],
            "image_size": 96,
        },
        "class_names": list("abcd"),
        "category_ids": [3, 5, 8, 9],
    }
    detectors.save_pretrained(tmp_path / "own", model, variables, **info)
    assert info_of_weights(tmp_path / "own") == info
    canvas, meaning = meaning_of_weights(tmp_path / "own", 4)
    assert canvas.resize == (64, 32) and canvas.image_size == 96
    assert meaning.class_names == list("abcd") and meaning.category_ids == [3, 5, 8, 9]
    assert meaning.palette.shape == (4, 3)
    name = "poolformer_s12+retinanet"
    stored = detectors.stored_info(name, tmp_path / "own", model)
    assert json.loads(json.dumps(stored)) == info
    larger = detectors.stored_info(name, tmp_path / "own", model, image_size=128)
    assert larger["preprocessing"]["image_size"] == 128
    with pytest.raises(UserError, match="damaged"):
        meaning_of_weights(tmp_path / "own", 5)


def test_of_files_that_say_nothing_coco_is_a_guess(tmp_path, caplog):
    path = write_arrays(tmp_path / "model.npz", arrays_of("retinanet"), "npz")
    with caplog.at_level("WARNING"):
        canvas, meaning = meaning_of_weights(path, 80)
    assert "doesn't say how photos are prepared" in caplog.text
    assert canvas.resize == (1333, 800) and canvas.image_size == 1344
    assert meaning.class_names is None and meaning.category_ids == list(COCO_IDS)
    assert meaning_of_weights(path, 3)[1].category_ids == [1, 2, 3]


@pytest.mark.parametrize("backbone", maxvit_jax.list_models())
def test_every_name_makes_a_model(backbone):
    for head in micro.DETECTORS:
        name = f"{backbone}+{head}"
        assert detectors.knows(name) and not maxvit_jax.knows(name)
        assert detectors.create_model(name, num_classes=3).num_classes == 3


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'poolformer_s12\+retinanet'"):
        detectors.create_model("poolformer_s12+retina_net")
