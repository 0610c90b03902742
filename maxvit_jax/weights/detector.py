"""Detectors' weights: mmdetection's names, around the backbone's own."""

from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.advice import start_fresh
from common.weights.layouts import TORCH_CONV, TORCH_DENSE, TORCH_POINTWISE, TORCH_UP_CONV
from common.weights.mapping import Row, Table
from common.weights.readers import WeightFile
from maxvit_jax.models.mask_rcnn import MaskRCNN
from maxvit_jax.weights import heads

STEM = r"backbone/stem/conv(_0)?/kernel"
_SOURCE = "mmdetection's names"
_POINTWISE = [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")]
_DENSE = [("kernel", "weight", TORCH_DENSE), ("bias", "bias")]
_CONV = [("kernel", "weight", TORCH_CONV), ("bias", "bias")]
# What has an output for every class.
_OF_CLASSES = {
    "retinanet": ("head/class_logits",),
    "mask_rcnn": ("box_head_0/logits", "box_head_0/deltas", "mask_head/logits"),
}

RETINANET: list[Row] = [
    ("class_conv_{i}", "cls_convs.{i}", heads.CONV),
    ("box_conv_{i}", "reg_convs.{i}", heads.CONV),
    ("class_logits", "retina_cls", _CONV),
    ("box_deltas", "retina_reg", _CONV),
]
RPN: list[Row] = [
    ("conv_0", "rpn_conv", _CONV),
    ("logits", "rpn_cls", _POINTWISE),
    ("deltas", "rpn_reg", _POINTWISE),
]
BOX_HEAD: list[Row] = [
    ("dense_{i}", "shared_fcs.{i}", _DENSE),
    ("logits", "fc_cls", _DENSE),
    ("deltas", "fc_reg", _DENSE),
]
MASK_HEAD: list[Row] = [
    ("conv_{i}", "convs.{i}", heads.CONV),
    ("upsample", "upsample", [("kernel", "weight", TORCH_UP_CONV), ("bias", "bias")]),
    ("logits", "conv_logits", _POINTWISE),
]


def neck(stages: Iterable[str], extra: int = 0) -> list[Row]:
    """Rows of a pyramid of some stages, with `extra` convolutions beyond."""
    rows: list[Row] = []
    for i, name in enumerate(stages):
        rows.append((f"{name}_lateral", f"lateral_convs.{i}", heads.CONV))
        rows.append((f"{name}_output", f"fpn_convs.{i}", heads.CONV))
    first = len(rows) // 2
    return rows + [(f"extra_{i + 1}", f"fpn_convs.{first + i}", heads.CONV) for i in range(extra)]


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return ("num_classes",)


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source: mmdetection's, where the layers are its own."""
    two_stages = isinstance(model, MaskRCNN)
    if model.convention != "mm" or (two_stages and len(model.iou_thresholds) > 1):
        return {}
    pyramid = neck(model.used_strides, 0 if two_stages else model.extra_levels)
    rows: list[Row] = [("neck", "neck", pyramid)]
    if two_stages:
        rows += [
            ("rpn", "rpn_head", RPN),
            ("box_head_0", "roi_head.bbox_head", BOX_HEAD),
            ("mask_head", "roi_head.mask_head", MASK_HEAD),
        ]
    else:
        rows.append(("head", "bbox_head", RETINANET))
    return heads.with_backbone(model, _SOURCE, rows)


def lookalike(file: WeightFile) -> None:
    """Says which other architecture a file is of: no other has such names."""
    del file


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model: `num_classes`."""
    for name, array in file.arrays.items():
        match table.ours(name):
            case "head/class_logits/bias":
                boxes = next(
                    (a for n, a in file.arrays.items() if table.ours(n) == "head/box_deltas/bias"),
                    None,
                )
                if boxes is not None and array.size % (boxes.size // 4) == 0:
                    return {"num_classes": array.size // (boxes.size // 4)}
            case "box_head_0/logits/bias":
                return {"num_classes": array.size - 1}
    return {}


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    if "num_classes" in asked and model.num_classes != found.get("num_classes"):
        kind = "mask_rcnn" if isinstance(model, MaskRCNN) else "retinanet"
        return _OF_CLASSES[kind]
    return ()


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes."""
    classes = found.get("num_classes", model.num_classes)
    if classes == model.num_classes:
        return ""
    fresh = start_fresh(model.num_classes, "the last layers, in a run the heads,")
    return f"; the file has {classes} classes: {fresh}"
