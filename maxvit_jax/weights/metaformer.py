"""MetaFormer weights of both official PyTorch releases, of timm and of transformers' PoolFormer.

The arrays are the same everywhere, but timm's PoolFormer computes its head in another order. A
model given by name takes `head_order` from the file, so that its logits are those of whoever wrote
the names; `head_order="official"` as an argument makes timm's files give the official logits.

Names depend on the model: position embeddings take slots of their own among the first release's
numbers, and timm's blocks are convolutional or linear by their mixer. Parts that a release lacks
are named as its code would name them. IdentityFormer and PoolFormerV2 have the same arrays, as have
`poolformer_s12` and `metaformer_id_s12`: their files can't be told apart.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.layouts import (
    FLATTENED,
    TORCH_CONV,
    TORCH_DENSE,
    TORCH_DENSE_FROM_HEADS,
    TORCH_POINTWISE,
    Layout,
)
from common.weights.mapping import OURS, Row, Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import classifier

STEM = r"stem/conv/kernel"
HEAD = (classifier.NORM, "head/inner", "head/inner_norm", classifier.CLASSIFIER)
advice = classifier.advice
FIRST, SECOND, TIMM = "names of PoolFormer's release", "names of CAFormer's release", "timm names"
TRANSFORMERS = "transformers' names"

# Ours [height, width, channels].
POSITIONS = Layout(
    lambda a: [a.transpose(2, 0, 1)[None]], lambda arrays, _: arrays[0][0].transpose(1, 2, 0)
)

_NORM = [("scale", "weight"), ("bias", "bias")]
_CONV = [("kernel", "weight", TORCH_CONV), ("bias", "bias")]
_DENSE = [("kernel", "weight", TORCH_DENSE), ("bias", "bias")]
_STAR_RELU = [("scale", "scale", FLATTENED), ("bias", "bias", FLATTENED)]


def _mixer(mixer: Any, pointwise: Layout) -> list[Row]:
    """Rows of a token mixer; the last one keeps the names of those that no release has."""
    known = {
        "attention": [
            ("attention/qkv/kernel", "qkv.weight", TORCH_DENSE),
            ("attention/out/kernel", "proj.weight", TORCH_DENSE_FROM_HEADS),
            ("attention/out/bias", "proj.bias"),
        ],
        "sep_conv": [
            ("expand/kernel", "pwconv1.weight", pointwise),
            ("activation", "act1", _STAR_RELU),
            ("depthwise_conv/kernel", "dwconv.weight", TORCH_CONV),
            ("shrink/kernel", "pwconv2.weight", pointwise),
        ],
        "spatial_fc": [("kernel", "fc.weight", TORCH_DENSE)],
        "random": [("matrix", "random_matrix")],
    }
    rows = known.get(mixer, []) if isinstance(mixer, str) else []
    return [*rows, ("{name*}", "{name*}")]


def _block(mixer: Any, pointwise: Layout, layer_scale: str) -> list[Row]:
    """Rows of a block.

    Args:
      mixer: its token mixer.
      pointwise: of dense layers, which may be 1x1 convolutions there.
      layer_scale: their name; a zero stands for the number of the branch.
    """
    dense = [("kernel", "weight", pointwise), ("bias", "bias")]
    return [
        ("mixer_norm", "norm1", _NORM),
        ("mixer", "token_mixer", _mixer(mixer, pointwise)),
        ("mixer_layer_scale", layer_scale.replace("0", "1")),
        ("mixer_residual_scale", "res_scale1.scale"),
        ("mlp_norm", "norm2", _NORM),
        ("mlp/expand", "mlp.fc1", dense),
        ("mlp_activation", "mlp.act", _STAR_RELU),
        ("mlp/shrink", "mlp.fc2", dense),
        ("mlp_layer_scale", layer_scale.replace("0", "2")),
        ("mlp_residual_scale", "res_scale2.scale"),
    ]


def _head(norm: str, head: str, mlp: bool) -> list[Row]:
    return [
        ("head/norm", norm, _NORM),
        ("head/inner", f"{head}.fc1", _DENSE),
        ("head/inner_norm", f"{head}.norm", _NORM),
        (classifier.CLASSIFIER, f"{head}.fc2" if mlp else head, _DENSE),
    ]


def _first(mixers: tuple, positions: tuple[int, ...], mlp_head: bool) -> Table:
    """Everything between stem and head is numbered in one sequence, `network`."""
    rows, slot = [], 0
    for stage, mixer in enumerate(mixers, 1):
        if stage > 1:
            inner = [("conv", "proj", _CONV), ("norm", "norm", _NORM)]
            rows.append((f"stage_{stage}_downsample", f"network.{slot}", inner))
            slot += 1
        if stage in positions:
            rows.append((f"stage_{stage}_positions", f"network.{slot}.pos_embed", POSITIONS))
            slot += 1
        block = _block(mixer, TORCH_POINTWISE, "layer_scale_0")
        rows.append((f"stage_{stage}_block_{{b}}", f"network.{slot}.{{b}}", block))
        rows.append((f"stage_{stage}_norm", f"norm{slot}", _NORM))
        slot += 1
    stem = [("conv", "proj", _CONV), ("norm", "norm", _NORM)]
    others = ("network/{name*}", "network.{name*}")  # of variants with another numbering
    head = _head("norm", "head", mlp_head)
    return Table(FIRST, ".", [("stem", "patch_embed", stem), *rows, *head, others])


def _second(mixers: tuple, mlp_head: bool) -> Table:
    rows = [
        ("stem", "downsample_layers.0", [("conv", "conv", _CONV), ("norm", "post_norm", _NORM)]),
        (
            "stage_{s}_downsample",
            "downsample_layers.{s-1}",
            [("conv", "conv", _CONV), ("norm", "pre_norm", _NORM)],
        ),
        ("stage_{s}_positions", "stages.{s-1}.pos_embed", POSITIONS),
        ("stage_{s}_norm", "norms.{s-1}", _NORM),
    ]
    for stage, mixer in enumerate(mixers, 1):
        block = _block(mixer, TORCH_DENSE, "layer_scale0.scale")
        rows.append((f"stage_{stage}_block_{{b}}", f"stages.{stage - 1}.{{b}}", block))
    return Table(SECOND, ".", [*rows, *_head("norm", "head", mlp_head)])


def _timm(mixers: tuple, mlp_head: bool) -> Table:
    embedding = [("conv", "conv", _CONV), ("norm", "norm", _NORM)]
    rows = [
        ("stem", "stem", embedding),
        ("stage_{s}_downsample", "stages.{s-1}.downsample", embedding),
        ("stage_{s}_positions", "stages.{s-1}.pos_embed", POSITIONS),
        ("stage_{s}_norm", "norms.{s-1}", _NORM),
    ]
    for stage, mixer in enumerate(mixers, 1):
        pointwise = TORCH_DENSE if mixer == "attention" else TORCH_POINTWISE
        block = _block(mixer, pointwise, "layer_scale0.scale")
        rows.append((f"stage_{stage}_block_{{b}}", f"stages.{stage - 1}.blocks.{{b}}", block))
    return Table(TIMM, ".", [*rows, *_head("head.norm", "head.fc", mlp_head)])


def _transformers() -> Table:
    """PoolFormer as transformers has it, in the order of the release; heads stand beside it."""
    dense = [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")]
    embedding = [("conv", "projection", _CONV), ("norm", "norm", _NORM)]
    block = [
        ("mixer_norm", "before_norm", _NORM),
        ("mixer_layer_scale", "layer_scale_1"),
        ("mlp_norm", "after_norm", _NORM),
        ("mlp/expand", "output.conv1", dense),
        ("mlp/shrink", "output.conv2", dense),
        ("mlp_layer_scale", "layer_scale_2"),
    ]
    encoder = "poolformer.encoder"
    rows = [
        ("stem", f"{encoder}.patch_embeddings.0", embedding),
        ("stage_{s}_downsample", f"{encoder}.patch_embeddings.{{s-1}}", embedding),
        ("stage_{s}_block_{b}", f"{encoder}.block.{{s-1}}.{{b}}", block),
        ("head/norm", "norm", _NORM),
        (classifier.CLASSIFIER, "classifier", _DENSE),
        ("{name*}", "poolformer.{name*}"),  # what other MetaFormers have
    ]
    # The model without its head is saved without the first part of the names.
    return Table(TRANSFORMERS, ".", rows, respell=[(r"^encoder\.", f"{encoder}.")])


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`.

    Norms of features are for a model without classifier: one that asks for classes has none.
    """
    norms = () if asked.get("num_classes") else ("feature_norms",)
    return "num_classes", "head_order", *norms


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source; `"official"` are those of the model's paper."""
    return _tables(
        model.mixers, tuple(model.position_embeddings), model.mlp_head, model.downsample_norms
    )


@functools.cache
def _tables(
    mixers: tuple, positions: tuple[int, ...], mlp_head: bool, second: bool
) -> dict[str, Table]:
    releases = [_first(mixers, positions, mlp_head), _second(mixers, mlp_head)]
    own, other = releases[::-1] if second else releases
    timm = _timm(mixers, mlp_head)
    return {"official": own, "timm": timm, "other_paper": other, "transformers": _transformers()}


def lookalike(file: WeightFile) -> None:
    """No other architecture has names that mislead."""
    del file


_BLOCK = re.compile(r"(?:network|stages)\.(\d+)\.(?:blocks\.)?(\d+)\.(.+)")
_MIXER_NAMES = {
    "attention": "token_mixer.qkv.weight",
    "sep_conv": "token_mixer.pwconv1.weight",
    "spatial_fc": "token_mixer.fc.weight",
    "random": "token_mixer.random_matrix",
}


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model.

    Returns:
      `head_order` by whose names they are; `feature_norms`; what `infer_head` returns; of foreign
      files also `widths`, `depths`, `activation`, and `mixers` where any of them has weights.
    """
    arrays = classifier.our_arrays(file, table)
    norms = any(re.fullmatch(r"stage_\d+_norm/scale", name) for name in arrays)
    found: dict[str, Any] = {"feature_norms": norms, **classifier.infer_head(arrays)}
    blocks: dict[int, dict[int, dict[str, Any]]] = {}
    for name, array in file.arrays.items():
        if block := _BLOCK.fullmatch(name):
            inner = blocks.setdefault(int(block[1]), {}).setdefault(int(block[2]), {})
            inner[block[3]] = array
    if table is OURS:
        return found
    found["head_order"] = "timm" if table.source == TIMM else "official"
    # Whatever the table: position embeddings of another variant would shift its numbers.
    stages = [blocks[s] for s in sorted(blocks)]
    if not stages or not all("norm1.weight" in stage.get(0, {}) for stage in stages):
        return found  # transformers', or damaged: it says nothing on which variant it is of
    star_relu = any("mlp.act.scale" in stage[0] for stage in stages)
    mixers = [
        next((mixer for mixer, name in _MIXER_NAMES.items() if name in stage[0]), None)
        for stage in stages
    ]
    if any(mixers):
        without = "identity" if star_relu else "pool"
        found["mixers"] = tuple(mixer or without for mixer in mixers)
    return found | {
        "widths": tuple(stage[0]["norm1.weight"].size for stage in stages),
        "depths": tuple(len(stage) for stage in stages),
        "activation": "star_relu" if star_relu else "gelu",
    }


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    norms = tuple(f"stage_{s}_norm" for s in range(1, len(model.widths) + 1))
    if model.feature_norms and not found["feature_norms"]:  # a classifier becomes a backbone
        return ("head", *norms)
    other = norms if found["feature_norms"] and not model.feature_norms else ()
    return (*other, *classifier.left_out(model, found, asked, HEAD))
