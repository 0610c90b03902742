"""MAXIM weights of the official release and of PyTorch.

PyTorch's names are those of the authors' port (github.com/vztu/maxim-pytorch), which are the
official ones with dots. An up-convolution's kernel is flipped in space between the two frameworks.
The port's own conversion script does not flip it, so that its files restore slightly differently
from the release, in PyTorch as here: read the official `.npz` instead.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.layouts import (
    TF_POINTWISE,
    TORCH_CONV,
    TORCH_DENSE,
    TORCH_POINTWISE,
    TORCH_UP_CONV,
)
from common.weights.mapping import Row, Table
from common.weights.readers import WeightFile

_KERNEL = [("kernel", "kernel"), ("bias", "bias")]

# Leaves per kind of layer.
_OFFICIAL_LEAVES = {
    "norm": [("scale", "scale"), ("bias", "bias")],
    "dense": _KERNEL,
    "pointwise": [("kernel", "kernel", TF_POINTWISE), ("bias", "bias")],
    "conv": _KERNEL,
    "up_conv": _KERNEL,
}
_TORCH_LEAVES = {
    "norm": [("scale", "gamma"), ("bias", "beta")],
    "dense": [("kernel", "weight", TORCH_DENSE), ("bias", "bias")],
    "pointwise": [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")],
    "conv": [("kernel", "weight", TORCH_CONV), ("bias", "bias")],
    "up_conv": [("kernel", "weight", TORCH_UP_CONV), ("bias", "bias")],
}
# Layers that the port makes for every block and calls in some.
_TORCH_IDLE = (
    r"stage_\d+_input_catconv_\d+\..*",
    r"stage_0_encoder_block_\d+\.cross_gating_block\..*",
    r"stage_\d+_decoder_block_\d+\.UNetEncoderBlock_0\.(cross_gating_block|Conv_1)\..*",
    r"stage_\d+_(encoder_block_\d+\.cross_gating_block|input_fuse_sam_\d+)\.ConvTranspose_0\..*",
)

STEM = r"stage_\d+/input_conv_\d+/kernel"

# Fields by what tells them: how many different numbers there are, whether a name is there.
_COUNTED = {
    "depth": r"stage_1/encoder_(\d+)/",
    "num_stages": r"stage_(\d+)/encoder_0/",
    "num_groups": r"stage_1/encoder_0/channel_attention_(\d+)/",
    "num_bottleneck_blocks": r"stage_1/bottleneck_(\d+)/",
    "num_supervision_scales": r"stage_1/input_conv_(\d+)/",
}
_SWITCHED = {
    "use_bias": r".*_proj/bias",
    "use_global_mlp": r"stage_\d+/encoder_.*/multi_axis_.*",
    "use_cross_gating": r"stage_\d+/skip_fusion_\d+/proj_x/.*",
}


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return "num_supervision_scales", "num_outputs"


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of both sources; some are numbers that depend on a model's depth."""
    return {
        "official": Table(
            "official names",
            "/",
            [("", "opt/target", _rows(_OFFICIAL_LEAVES, model.depth, model.num_stages))],
            respell=[(r"^(?!opt/)", "opt/target/")],  # the parameters alone will do
        ),
        "torch": Table(
            "PyTorch names",
            ".",
            _rows(_TORCH_LEAVES, model.depth, model.num_stages),
            idle=_TORCH_IDLE,
        ),
    }


def _rows(leaves: Mapping[str, list[Row]], depth: int, num_stages: int) -> list[Row]:
    norm, dense, pointwise = leaves["norm"], leaves["dense"], leaves["pointwise"]
    conv, up_conv = leaves["conv"], leaves["up_conv"]

    def gated_mlp(ours: str, theirs: str) -> Row:
        gating = [("norm", "intermediate_layernorm", norm), ("spatial", "Dense_0", dense)]
        inner = [
            ("norm", "LayerNorm", norm),
            ("in_proj", "in_project", dense),
            ("gating", f"{theirs}GatingUnit", gating),
            ("out_proj", "out_project", dense),
        ]
        return ours, f"{theirs}GmlpLayer", inner

    multi_axis = (
        "multi_axis_{k}",
        "SplitHeadMultiAxisGmlpLayer_{k}",
        [
            ("norm", "LayerNorm_in", norm),
            ("in_proj", "in_project", dense),
            gated_mlp("grid", "Grid"),
            gated_mlp("block", "Block"),
            ("out_proj", "out_project", dense),
        ],
    )
    gate = (
        "gate",
        "channel_attention",
        [("reduce", "Conv_0", pointwise), ("expand", "Conv_1", pointwise)],
    )
    gating_weights = [
        ("norm", "LayerNorm_in", norm),
        ("in_proj", "in_project", dense),
        ("grid", "Dense_0", dense),
        ("block", "Dense_1", dense),
        ("out_proj", "out_project", dense),
    ]
    cross_gating = [
        ("up", "ConvTranspose_0", up_conv),
        ("proj_x", "Conv_0", pointwise),
        ("proj_y", "Conv_1", pointwise),
        *((f"norm_{x}", f"LayerNorm_{x}", norm) for x in "xy"),
        *((f"in_proj_{x}", f"in_project_{x}", dense) for x in "xy"),
        *((f"gate_{x}", f"SplitHeadMultiAxisGating_{x}", gating_weights) for x in "xy"),
        *((f"out_proj_{x}", f"out_project_{x}", dense) for x in "xy"),
    ]
    convolutions = [
        ("norm", "LayerNorm", norm),
        ("conv_0", "conv1", conv),
        ("conv_1", "conv2", conv),
        gate,
    ]
    level = [
        ("input_proj", "Conv_0", pointwise),
        multi_axis,
        ("channel_attention_{k}", "channel_attention_block_1{k}", convolutions),
    ]
    channel_mlp = [
        ("norm", "LayerNorm", norm),
        ("mlp", "channel_mixing", [("expand", "Dense_0", dense), ("shrink", "Dense_1", dense)]),
        gate,
    ]
    bottleneck = [
        ("input_proj", "input_proj", pointwise),
        multi_axis,
        ("channel_attention_{k}", "channel_attention_block_1_{k}", channel_mlp),
    ]
    attention = [
        ("feature_conv", "Conv_0", conv),
        ("image_conv", "Conv_1", conv),
        ("mask_conv", "Conv_2", conv),
    ]
    return [
        ("stage_{t}/input_conv_{s}", "stage_{t-1}_input_conv_{s}", conv),
        ("stage_{t}/input_fusion_{s}", "stage_{t-1}_input_fuse_sam_{s}", cross_gating),
        ("stage_{t}/input_fusion_{s}", "stage_{t-1}_input_catconv_{s}", pointwise),
        (
            "stage_{t}/encoder_{i}",
            "stage_{t-1}_encoder_block_{i}",
            [
                *level,
                ("cross_gating", "cross_gating_block", cross_gating),
                ("down", "Conv_1", conv),
            ],
        ),
        ("stage_{t}/bottleneck_{b}", "stage_{t-1}_global_block_{b}", bottleneck),
        ("stage_{t}/skip_fusion_{i}", "stage_{t-1}_cross_gating_block_{i}", cross_gating),
        (
            "stage_{t}/decoder_{i}",
            "stage_{t-1}_decoder_block_{i}",
            [("up", "ConvTranspose_0", up_conv), ("", "UNetEncoderBlock_0", level)],
        ),
        (
            "stage_{t}/supervised_attention_{i}",
            "stage_{t-1}_supervised_attention_module_{i}",
            attention,
        ),
        ("stage_{t}/output_conv_{i}", "stage_{t-1}_output_conv_{i}", conv),
        *_numbered_rows(pointwise, conv, depth, num_stages),
    ]


def _numbered_rows(
    pointwise: list[Row], conv: list[Row], depth: int, num_stages: int
) -> Iterable[Row]:
    """Rows of layers that the release leaves unnamed: flax counts them in order of execution."""
    from_coarsest = [*reversed(range(depth))]
    rescaled = unfused = 0
    for t in range(1, num_stages + 1):
        for name, sources in (("skip_proj", [*range(depth)]), ("decoder_proj", from_coarsest)):
            for i in from_coarsest:
                for j in sources:
                    ours = f"stage_{t}/{name}_{j}_{i}"
                    yield ours, f"UpSampleRatio_{rescaled}", [("", "Conv_0", pointwise)]
                    rescaled += 1
        for i in from_coarsest:  # without cross-gating
            yield f"stage_{t}/skip_fusion_{i}/proj", f"Conv_{unfused}", pointwise
            yield f"stage_{t}/skip_fusion_{i}/conv", f"Conv_{unfused + 1}", conv
            unfused += 2


def lookalike(file: WeightFile) -> str | None:
    """Returns None: no other architecture shares these names."""
    del file


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model: its numbers of everything, and switches."""
    names = {table.ours(name) or "": array for name, array in file.arrays.items()}
    found = {field: _count(pattern, names) for field, pattern in _COUNTED.items()}
    found |= {field: any(map(re.compile(p).fullmatch, names)) for field, p in _SWITCHED.items()}
    first = names.get("stage_1/encoder_0/channel_attention_0/norm/scale")
    output = f"stage_{found['num_stages']}/output_conv_0/kernel"
    if output in names and names[output].ndim == 4:
        found["num_outputs"] = table.theirs(output)[1].to_ours([names[output]], ()).shape[-1]
    return found if first is None else {"features": first.size, **found}


def _count(pattern: str, names: Iterable[str]) -> int:
    return len({match[1] for match in map(re.compile(pattern).match, names) if match})


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns no modules: a file fills all of them."""
    del model, found, asked
    return ()


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns which other fields a file of the same variant needs."""
    other = [f"{k}={v}" for k, v in found.items() if getattr(model, k) != v]
    return f"; the file needs a model with {', '.join(other)}" if other else ""
