"""AEWin weights: none are published, so that only our own directories and runs can be loaded."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.mapping import Table
from common.weights.readers import WeightFile

CLASSIFIER = "head/logits"
FOLLOWED = ("num_classes",)


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source: there is none."""
    del model
    return {}


def lookalike(file: WeightFile) -> None:
    """Says which other architecture a file is of: without tables, nothing can mislead."""
    del file


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model.

    Returns:
      `widths` and `depths`, and `num_classes` where the file has a classifier.
    """
    del table  # our own names are the only ones
    widths, depths = {}, {}
    for name, array in file.arrays.items():
        if block := re.fullmatch(r"stage_(\d+)_block_\d+/attention_norm/scale", name):
            stage = int(block[1])
            widths[stage] = array.size
            depths[stage] = depths.get(stage, 0) + 1
    bias = file.arrays.get(f"{CLASSIFIER}/bias")
    return {
        "widths": tuple(widths[s] for s in sorted(widths)),
        "depths": tuple(depths[s] for s in sorted(depths)),
        **({} if bias is None else {"num_classes": bias.size}),
    }


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    fresh = "num_classes" in asked and model.num_classes != found.get("num_classes")
    return (CLASSIFIER,) if fresh or model.num_classes == 0 else ()


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes."""
    classes = found.get("num_classes", 0)
    if classes == model.num_classes:
        return ""
    return (
        f"; the file has {classes or 'no'} classes: num_classes={model.num_classes} as an argument"
        " starts the last layer fresh"
    )
