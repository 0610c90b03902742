"""Weights of GANs under the names of google-research/hit-gan: paths of objects in its models.

Its generator is below `generator/`, its discriminator below `discriminator/`. Of MaxViT-GAN nothing
was released.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.layouts import SAME, TF_POINTWISE, Layout
from common.weights.mapping import Row, Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import classifier

STEM = r"(?!)"  # no kernel adapts to images of other channels: they are made here
DISCRIMINATOR = "discriminator"

_TOKEN_POSITIONS = Layout(lambda a: [a[:, None]], lambda arrays, _: arrays[0][:, 0])
_BATCH_NORM = [
    *(("scale", "gamma"), ("bias", "beta")),
    *(("mean", "moving_mean"), ("var", "moving_variance")),
]
_DENSE = [("kernel", "kernel"), ("bias", "bias")]


def _mlp(ours: str, theirs: str) -> list[Row]:
    dense = f"{theirs}mlp_block/layer-"
    return [
        (f"{ours}norm", f"{theirs}norm_layer", _BATCH_NORM),
        (f"{ours}expand", f"{dense}0", _DENSE),
        (f"{ours}shrink", f"{dense}2", _DENSE),
    ]


_BLOCK = [
    ("attention_norm", "norm", _BATCH_NORM),
    *((f"attention/{n}", f"attention_layer/{n}_dense", _DENSE) for n in ("query", "key", "value")),
    ("attention/out", "attention_layer/output_dense", _DENSE),
    *_mlp("mlp/", "mlp_block/"),
]
_GENERATOR = [
    ("seed", "dense_layer/layer-0", _DENSE),
    ("tokens", "embedding_layer/layer-0", _DENSE),
    ("token_positions/table", "embedding_layer/layer-2/embedding_weight", _TOKEN_POSITIONS),
    ("token_norm", "embedding_layer/layer-3", _BATCH_NORM),
    ("stage_{s}_project", "umsamplings/{s-2}/dense_layer", _DENSE),
    ("stage_{s}_positions/table", "position_embeddings/{s-1}/embedding_weight", SAME),
    ("stage_{s}_cross", "blocks/{s-1}/layer-0", _BLOCK),
    ("stage_{s}_block_{b}", "blocks/{s-1}/layer-{b+1}", [*_BLOCK, *_mlp("", "")]),
    ("stage_{s}_rgb_norm", "to_rgb_layers/{s-1}/output_layer/layer-0", _BATCH_NORM),
    ("stage_{s}_rgb", "to_rgb_layers/{s-1}/output_layer/layer-1", _DENSE),
]
_DISCRIMINATOR = [
    ("conv_in", "conv_blocks/layer-0", _DENSE),
    (
        "down_{b}",
        "conv_blocks/layer-{b+2}",
        [
            ("shortcut/kernel", "skip_layers/layer-1/kernel", TF_POINTWISE),
            ("conv_0", "conv_layers/layer-0", _DENSE),
            ("conv_1", "conv_layers/layer-3", _DENSE),
        ],
    ),
    ("conv_out", "final_layers/layer-0", _DENSE),
    ("dense", "final_layers/layer-3", _DENSE),
    ("logit", "final_layers/layer-5", _DENSE),
]
OFFICIAL = Table(
    "official names",
    "/",
    [("generator", "generator", _GENERATOR), (DISCRIMINATOR, "discriminator", _DISCRIMINATOR)],
)


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return "latent_dim", "generator_only", "minibatch_stddev"


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source: of HiT-GAN, the release's."""
    return {"official": OFFICIAL} if model.mixer == "hit" else {}


def lookalike(file: WeightFile) -> None:
    """Says which other architecture a file is of: no other has such names."""
    del file


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model.

    Returns:
      `widths`, `depths` and `mixer`; `latent_dim`, `in_channels`, `generator_only` and
      `minibatch_stddev`.
    """
    arrays = classifier.our_arrays(file, table)
    widths, blocks, found = {}, {}, {}
    for name, array in arrays.items():
        if stage := re.fullmatch(r"generator/stage_(\d+)_positions/table", name):
            widths[int(stage[1])] = array.shape[-1]
        elif block := re.match(r"generator/stage_(\d+)_block_(\d+)/", name):
            blocks.setdefault(int(block[1]), set()).add(block[2])
        elif re.fullmatch(r"generator/stage_\d+_rgb/bias", name):
            found["in_channels"] = array.size
        elif name == "generator/seed/kernel":
            found["latent_dim"] = array.shape[0]
    judges = f"{DISCRIMINATOR}/conv_out/kernel"
    if judges in arrays:
        inputs, outputs = arrays[judges].shape[2:]
        found["minibatch_stddev"] = inputs > outputs
    return found | {
        "widths": tuple(widths[s] for s in sorted(widths)),
        "depths": tuple(len(blocks[s]) for s in sorted(blocks)),
        "mixer": "maxvit" if any("/grid/" in name for name in arrays) else "hit",
        "generator_only": judges not in arrays,
    }


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    del asked
    absent = model.generator_only or found["generator_only"]
    return (DISCRIMINATOR,) if absent else ()


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with latents of another length."""
    length = found.get("latent_dim", model.latent_dim)
    return f"; the file is for latent_dim={length}" if length != model.latent_dim else ""
