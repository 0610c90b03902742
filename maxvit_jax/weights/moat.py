"""MOAT weights of the official TensorFlow release, with and without position bias."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.advice import set_field
from common.weights.layouts import BIAS_TABLE, STACKED_HEADS, TF_DEPTHWISE, TF_POINTWISE
from common.weights.mapping import Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import classifier

STEM = r"stem/conv_0/kernel"
HEAD = (classifier.NORM, classifier.CLASSIFIER)

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
    idle=[r"(?!moat/).+"],  # deeplab2's dense models have decoders beside it
)


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return "num_classes", "relative_bias", "stem_widths"


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
      `widths`, `depths`, `stem_widths`, `relative_bias`, and what `infer_head` returns.
    """
    arrays = classifier.our_arrays(file, table)
    blocks: dict[int, dict[int, int]] = {}
    for name, array in arrays.items():
        if block := re.fullmatch(r"stage_(\d+)_block_(\d+)/mbconv/shrink_conv/bias", name):
            blocks.setdefault(int(block[1]), {})[int(block[2])] = array.size
    stages = [blocks[s] for s in sorted(blocks)]
    return {
        "widths": tuple(next(iter(stage.values())) for stage in stages),
        "depths": tuple(len(stage) for stage in stages),
        "relative_bias": any(name.endswith("/relative_bias/table") for name in arrays),
        **classifier.infer_head(arrays),
        **classifier.infer_stem(arrays),
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
    return *modules, *classifier.left_out(model, found, asked, HEAD)


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes, or no position bias."""
    if model.relative_bias and not found["relative_bias"]:
        without = set_field("relative_bias", False)
        lacking = f"; the file has no position bias: {without} makes one without"
    else:
        lacking = ""
    return classifier.advice(model, found) or lacking
