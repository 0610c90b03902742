"""AEWin weights: none are published, so that only our own directories and runs can be loaded."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.weights.mapping import Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import classifier

STEM = r"stem/conv/kernel"
HEAD = (classifier.NORM, classifier.CLASSIFIER)
advice = classifier.advice


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return ("num_classes",)


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
      `widths` and `depths`, and what `infer_head` returns.
    """
    del table  # our own names are the only ones
    widths, depths = {}, {}
    for name, array in file.arrays.items():
        if block := re.fullmatch(r"stage_(\d+)_block_\d+/attention_norm/scale", name):
            stage = int(block[1])
            widths[stage] = array.size
            depths[stage] = depths.get(stage, 0) + 1
    return {
        "widths": tuple(widths[s] for s in sorted(widths)),
        "depths": tuple(depths[s] for s in sorted(depths)),
        **classifier.infer_head(file.arrays),
    }


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    return classifier.left_out(model, found, asked, HEAD)
