"""Segmenters' weights: mmsegmentation's names, around the backbone's own."""

from collections.abc import Iterable, Mapping
from typing import Any

from flax import linen as nn

from common.advice import start_fresh
from common.weights.mapping import Row, Table
from common.weights.readers import WeightFile
from maxvit_jax.weights import heads

STEM = r"backbone/stem/conv(_0)?/kernel"
CLASSIFIER = "classifier/logits"
_SOURCE = "mmsegmentation's names"


def followed(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what a model by name takes from a file: see `Weights.followed`."""
    del asked
    return ("num_classes",)


def tables(model: nn.Module) -> dict[str, Table]:
    """Returns the names of every foreign source: of heads that mmsegmentation has, PyTorch's."""
    rows: dict[str, list[Row]] = {
        "semantic_fpn": heads.SEMANTIC_FPN,
        "upernet": heads.upernet(tuple(model.head_fields.get("pool_scales", (1, 2, 3, 6)))),
    }
    if model.head_name not in rows:
        return {}
    head = [("head/" + ours if ours else "head", *rest) for ours, *rest in rows[model.head_name]]
    head += [("auxiliary", "", heads.FCN)]
    return heads.with_backbone(model, _SOURCE, head)


def lookalike(file: WeightFile) -> None:
    """Says which other architecture a file is of: no other has such names."""
    del file


def infer_fields(file: WeightFile, table: Table) -> dict[str, Any]:
    """Reads off a file what it says about the model: `num_classes`."""
    for name, array in file.arrays.items():
        if table.ours(name) == f"head/{CLASSIFIER}/bias":
            return {"num_classes": array.size}
    return {}


def left_out(model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the modules that take nothing from a file: see `Weights.left_out`."""
    absent = () if model.auxiliary_channels else ("auxiliary",)  # of training alone
    if "num_classes" in asked and model.num_classes != found.get("num_classes"):
        return *absent, f"head/{CLASSIFIER}", f"auxiliary/{CLASSIFIER}"
    return absent


def advice(model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file with another number of classes."""
    classes = found.get("num_classes", model.num_classes)
    if classes == model.num_classes:
        return ""
    fresh = start_fresh(model.num_classes, "the last layer, in a run the head,")
    return f"; the file has {classes} classes: {fresh}"
