"""MaxViT weights of the official TensorFlow release and of timm (`maxvit_*_tf_*`)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.layouts import (
    BIAS_TABLE,
    FLATTENED,
    STACKED_HEADS,
    TF_DEPTHWISE,
    TF_POINTWISE,
    TORCH_CONV,
    TORCH_DENSE,
    TORCH_DENSE_FROM_HEADS,
    TORCH_POINTWISE,
)
from common.weights.mapping import OURS, Row, Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import classifier

STEM = r"stem/conv_0/kernel"
HEAD = (classifier.NORM, "head/inner", classifier.CLASSIFIER)
PRETRAINING_WINDOW = 7  # official files of every size keep the tables of this one
advice = classifier.advice

# ---------------------------------------------------------------- official TensorFlow names

_LAYER_NORM = [("scale", "gamma"), ("bias", "beta")]
_BATCH_NORM = [*_LAYER_NORM, ("mean", "moving_mean"), ("var", "moving_variance")]
_CONV = [("kernel", "kernel"), ("bias", "bias")]
_CONV_1X1 = [("kernel", "kernel", TF_POINTWISE), ("bias", "bias")]
_DENSE = [("kernel", "weight"), ("bias", "bias")]


def _attention(n: str) -> list[Row]:
    """Rows of one attention and its MLP: no suffix for windows, `_1` for the grid."""
    return [
        ("attention_norm", "attn_layer_norm" + n, _LAYER_NORM),
        ("attention/relative_bias/table", "attention" + n + "/relative_bias", BIAS_TABLE),
        ("attention/qkv/kernel", "attention" + n + "/{q,k,v}/weight", STACKED_HEADS),
        ("attention/qkv/bias", "attention" + n + "/{q,k,v}/bias", STACKED_HEADS),
        ("attention/out", "attention" + n + "/o", _DENSE),
        ("mlp_norm", "ffn_layer_norm" + n, _LAYER_NORM),
        ("mlp/expand", "ffn" + n + "/expand_dense", _DENSE),
        ("mlp/shrink", "ffn" + n + "/shrink_dense", _DENSE),
    ]


OFFICIAL = Table(
    "official names",
    "/",
    [
        ("stem/conv_{i}", "maxvit/stem/conv_{i}", _CONV),
        ("stem/norm_{i}", "maxvit/stem/norm_{i}", _BATCH_NORM),
        (
            "stage_{s}_block_{b}",
            "maxvit/block_{s-1:02}_{b:02}",
            [
                ("mbconv/pre_norm", "mbconv/pre_norm", _BATCH_NORM),
                ("mbconv/expand_conv", "mbconv/expand_conv", _CONV_1X1),
                ("mbconv/expand_norm", "mbconv/expand_norm", _BATCH_NORM),
                (
                    "mbconv/depthwise_conv/kernel",
                    "mbconv/depthwise_conv/depthwise_kernel",
                    TF_DEPTHWISE,
                ),
                ("mbconv/depthwise_norm", "mbconv/depthwise_norm", _BATCH_NORM),
                ("mbconv/se/reduce", "mbconv/se/reduce_conv2d", _CONV_1X1),
                ("mbconv/se/expand", "mbconv/se/expand_conv2d", _CONV_1X1),
                ("mbconv/shrink_conv", "mbconv/shrink_conv", _CONV_1X1),
                ("mbconv/shortcut_conv", "mbconv/shortcut_conv", _CONV_1X1),
                ("window", "", _attention("")),
                ("grid", "", _attention("_1")),
            ],
        ),
        ("head/norm", "maxvit/final_layer_norm", _LAYER_NORM),
        ("head/inner", "maxvit/cls_head/inner_dense", _DENSE),
        ("head/logits", "maxvit/cls_head/logit_dense", _DENSE),
    ],
    respell=[  # eager Keras drops the names of stem and head
        (r"^((conv|norm)_\d+/)", r"maxvit/stem/\1"),
        (r"^((inner|logit)_dense/)", r"maxvit/cls_head/\1"),
    ],
)

# ---------------------------------------------------------------- timm names

_T_LAYER_NORM = [("scale", "weight"), ("bias", "bias")]
_T_BATCH_NORM = [*_T_LAYER_NORM, ("mean", "running_mean"), ("var", "running_var")]
_T_CONV = [("kernel", "weight", TORCH_CONV), ("bias", "bias")]
_T_CONV_1X1 = [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")]
_T_DENSE = [("kernel", "weight", TORCH_DENSE), ("bias", "bias")]

_T_ATTENTION = [
    ("attention_norm", "norm1", _T_LAYER_NORM),
    (
        "attention/relative_bias/table",
        "attn.rel_pos.relative_position_bias_table",
        BIAS_TABLE,
    ),
    ("attention/qkv/kernel", "attn.qkv.weight", TORCH_DENSE),
    ("attention/qkv/bias", "attn.qkv.bias", FLATTENED),
    ("attention/out/kernel", "attn.proj.weight", TORCH_DENSE_FROM_HEADS),
    ("attention/out/bias", "attn.proj.bias"),
    ("mlp_norm", "norm2", _T_LAYER_NORM),
    ("mlp/expand", "mlp.fc1", _T_DENSE),
    ("mlp/shrink", "mlp.fc2", _T_DENSE),
]

TIMM = Table(
    "timm names",
    ".",
    [
        ("stem/conv_{i}", "stem.conv{i+1}", _T_CONV),
        ("stem/norm_{i}", "stem.norm{i+1}", _T_BATCH_NORM),
        (
            "stage_{s}_block_{b}",
            "stages.{s-1}.blocks.{b}",
            [
                ("mbconv/pre_norm", "conv.pre_norm", _T_BATCH_NORM),
                ("mbconv/expand_conv", "conv.conv1_1x1", _T_CONV_1X1),
                ("mbconv/expand_norm", "conv.norm1", _T_BATCH_NORM),
                ("mbconv/depthwise_conv", "conv.conv2_kxk", _T_CONV),
                ("mbconv/depthwise_norm", "conv.norm2", _T_BATCH_NORM),
                ("mbconv/se/reduce", "conv.se.fc1", _T_CONV_1X1),
                ("mbconv/se/expand", "conv.se.fc2", _T_CONV_1X1),
                ("mbconv/shrink_conv", "conv.conv3_1x1", _T_CONV_1X1),
                ("mbconv/shortcut_conv", "conv.shortcut.expand", _T_CONV_1X1),
                ("window", "attn_block", _T_ATTENTION),
                ("grid", "attn_grid", _T_ATTENTION),
            ],
        ),
        ("head/norm", "head.norm", _T_LAYER_NORM),
        ("head/inner", "head.pre_logits.fc", _T_DENSE),
        ("head/logits", "head.fc", _T_DENSE),
    ],
)


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return "num_classes", "pre_logits", "stem_widths", "window_size", "grid_size"


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source, the same for all models."""
    del model
    return {"official": OFFICIAL, "timm": TIMM}


def lookalike(file: WeightFile) -> str | None:
    """Says which other architecture a file is of, where names alone would mislead.

    timm's own `maxvit_*` models without `_tf_` (`rw`, `rmlp`, `pm`) and its `maxxvit` and `coatnet`
    share most names with the official architecture and differ in the rest.
    """
    for name, array in file.arrays.items():
        if ".rel_pos.mlp." in name or (
            name.endswith("rel_pos.relative_position_bias_table") and array.ndim == 2
        ):
            return "timm's own architecture (coatnet, maxxvit, or maxvit rw, rmlp, pm)"
    return None


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model.

    Returns:
      `widths`, `depths`, `stem_widths` and what `infer_head` returns; `pre_logits`, where timm's
      classifier was taken off and all before it is left; of foreign files also `window_size` (and a
      `grid_size` that differs) where the tables say it: those of 13x13 are of any, as official
      files for 384 and 512 keep them.
    """
    arrays = classifier.our_arrays(file, table)
    blocks: Mapping[int, dict[int, int]] = {}
    windows = {}
    for name, array in arrays.items():
        if block := re.fullmatch(r"stage_(\d+)_block_(\d+)/window/attention_norm/scale", name):
            blocks.setdefault(int(block[1]), {})[int(block[2])] = array.size
        elif kind := re.fullmatch(r".*/(window|grid)/attention/relative_bias/table", name):
            windows[kind[1]] = (array.shape[-1] + 1) // 2
    stages = [blocks[s] for s in sorted(blocks)]
    found = {
        "widths": tuple(next(iter(stage.values())) for stage in stages),
        "depths": tuple(len(stage) for stage in stages),
        **classifier.infer_head(arrays),
        **classifier.infer_stem(arrays),
    }
    if table is TIMM and not found["num_classes"]:
        found["pre_logits"] = "head/inner" in found["head"]
    if table is OURS or set(windows.values()) <= {PRETRAINING_WINDOW}:
        return found
    window, grid = windows.get("window"), windows.get("grid")
    other = {} if window == grid else {"grid_size": grid}
    return found | {"window_size": window} | other


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    modules = classifier.left_out(model, found, asked, HEAD)
    wanted = () if model.num_classes or not model.pre_logits else ("head/inner",)
    return tuple(module for module in modules if module not in wanted)
