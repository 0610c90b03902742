"""MOAT weights of the official TensorFlow release, with and without position bias."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.layouts import BIAS_TABLE, STACKED_HEADS, TF_DEPTHWISE, TF_POINTWISE
from common.weights.mapping import Table
from common.weights.readers import WeightFile

CLASSIFIER = "head/logits"
HEAD_NORM = "head/norm"

_LAYER_NORM = [("scale", "gamma"), ("bias", "beta")]
_BATCH_NORM = [*_LAYER_NORM, ("mean", "moving_mean"), ("var", "moving_variance")]
_CONV = [("kernel", "kernel"), ("bias", "bias")]
_CONV_1X1 = [("kernel", "kernel", TF_POINTWISE), ("bias", "bias")]

OFFICIAL = Table(
    "official names",
    "/",
    [
        ("stem/conv_{i}", "moat/stem/conv_{i}", _CONV),
        ("stem/norm_{i}", "moat/stem/norm_{i}", _BATCH_NORM),
        (
            "stage_{s}_block_{b}",
            "moat/block_{s-1:02}_{b:02}",
            [
                ("mbconv/pre_norm", "pre_norm", _BATCH_NORM),
                ("mbconv/expand_conv", "expand_conv", _CONV_1X1),
                ("mbconv/expand_norm", "expand_norm", _BATCH_NORM),
                ("mbconv/depthwise_conv/kernel", "depthwise_conv/depthwise_kernel", TF_DEPTHWISE),
                ("mbconv/depthwise_norm", "depthwise_norm", _BATCH_NORM),
                ("mbconv/se/reduce", "se/reduce_conv2d", _CONV_1X1),
                ("mbconv/se/expand", "se/expand_conv2d", _CONV_1X1),
                ("mbconv/shrink_conv", "shrink_conv", _CONV_1X1),
                ("mbconv/shortcut_conv", "shortcut_conv", _CONV_1X1),
                ("attention_norm", "attention_norm", _LAYER_NORM),
                (
                    "attention/relative_bias/table",
                    "attention/relative_position_embedding",
                    BIAS_TABLE,
                ),
                ("attention/qkv/kernel", "attention/{q,k,v}/weight", STACKED_HEADS),
                ("attention/qkv/bias", "attention/{q,k,v}/bias", STACKED_HEADS),
                ("attention/out", "attention/o", [("kernel", "weight"), ("bias", "bias")]),
            ],
        ),
        ("head/norm", "moat/final_layer_norm", _LAYER_NORM),
        ("head/logits", "moat/logits_head", _CONV_1X1),
    ],
    respell=[(r"^((conv|norm)_\d+/)", r"moat/stem/\1")],  # eager Keras drops the stem's name
)

FOLLOWED = ("num_classes", "relative_bias")


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source, the same for all models."""
    del model
    return {"official": OFFICIAL}


def lookalike(file: WeightFile) -> str | None:
    """Says which other architecture a file is of: none has names like these."""
    del file
    return None


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model.

    Returns:
      `widths`, `depths` and `relative_bias`, `num_classes` where the file has a classifier, and
      `head_norm`: whether it has the norm before that, which a backbone for dense tasks lacks.
    """
    blocks: dict[int, dict[int, int]] = {}
    relative_bias, head_norm, classes = False, False, {}
    for name, array in file.arrays.items():
        ours = table.ours(name) or ""
        if block := re.fullmatch(r"stage_(\d+)_block_(\d+)/mbconv/shrink_conv/bias", ours):
            blocks.setdefault(int(block[1]), {})[int(block[2])] = array.size
        elif ours.endswith("/relative_bias/table"):
            relative_bias = True
        elif ours == f"{HEAD_NORM}/scale":
            head_norm = True
        elif ours == f"{CLASSIFIER}/bias":
            classes = {"num_classes": array.size}
    stages = [blocks[s] for s in sorted(blocks)]
    return {
        "widths": tuple(next(iter(stage.values())) for stage in stages),
        "depths": tuple(len(stage) for stage in stages),
        "relative_bias": relative_bias,
        "head_norm": head_norm,
        **classes,
    }


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    modules = []
    if not model.relative_bias:
        modules += [
            f"stage_{stage}_block_{block}/attention/relative_bias"
            for stage, depth in enumerate(model.depths, 1)
            for block in range(depth)
        ]
    fresh = "num_classes" in asked and model.num_classes != found.get("num_classes")
    if model.num_classes == 0 or fresh:
        modules += [CLASSIFIER] if found["head_norm"] else [CLASSIFIER, HEAD_NORM]
    return tuple(modules)


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes, or no position bias."""
    classes = found.get("num_classes", 0)
    if classes != model.num_classes:
        return (
            f"; the file has {classes or 'no'} classes: num_classes={model.num_classes} as an"
            " argument starts the last layer fresh"
        )
    if model.relative_bias and not found["relative_bias"]:
        return "; the file has no position bias: relative_bias=False makes one without"
    return ""
