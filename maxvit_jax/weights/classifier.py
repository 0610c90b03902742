"""What the weight files of all classifiers have in common: a head, which may be another or missing.

The last layer starts fresh where another number of classes is asked for, and with it whatever the
file lacks of the head; without classes, all but the head's norm is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from common.advice import start_fresh
from common.weights.mapping import Table
from common.weights.readers import WeightFile

CLASSIFIER = "head/logits"
NORM = "head/norm"


def our_arrays(file: WeightFile, table: Table) -> dict[str, np.ndarray]:
    """Returns the arrays of a file under our names; those that no row knows are left out."""
    named = ((table.ours(name), array) for name, array in file.arrays.items())
    return {name: array for name, array in named if name}


def infer_head(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns `num_classes`, 0 for none, and `head`: the modules of it that have arrays.

    Args:
      arrays: of a file, under our names.
    """
    bias = arrays.get(f"{CLASSIFIER}/bias")
    return {
        "num_classes": 0 if bias is None else bias.size,
        "head": {name.rpartition("/")[0] for name in arrays if name.startswith("head/")},
    }


def infer_stem(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns `stem_widths`, of a stem of two convolutions.

    Args:
      arrays: of a file, under our names.
    """
    biases = [arrays.get(f"stem/conv_{i}/bias") for i in range(2)]
    return {} if any(b is None for b in biases) else {"stem_widths": tuple(b.size for b in biases)}


def left_out(
    model: nn.Module, found: Mapping[str, Any], asked: Iterable[str], head: Sequence[str]
) -> tuple[str, ...]:
    """Returns the modules of a head that take nothing from a file: see `Weights.left_out`.

    Args:
      model: to be filled.
      found: what `infer_head` returned.
      asked: names of the fields that the user set.
      head: all modules of the family's head.
    """
    absent = [module for module in head if module not in found["head"]]
    if model.num_classes == 0:
        return tuple(module for module in head if module != NORM or module in absent)
    if "num_classes" in asked and model.num_classes != found["num_classes"]:
        return tuple(module for module in head if module == CLASSIFIER or module in absent)
    return ()


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes."""
    classes = found["num_classes"]
    if classes == model.num_classes:
        return ""
    fresh = start_fresh(model.num_classes, "the last layer")
    return f"; the file has {classes or 'no'} classes: {fresh}"
