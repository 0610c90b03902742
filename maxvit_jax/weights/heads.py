"""Names of heads in mmsegmentation, and of backbones under them."""

from collections.abc import Sequence

import maxvit_jax
from common.weights.layouts import TORCH_CONV, TORCH_POINTWISE
from common.weights.mapping import Row, Table
from maxvit_jax.models.dense import DenseModel

_BATCH_NORM = [
    ("scale", "weight"),
    ("bias", "bias"),
    ("mean", "running_mean"),
    ("var", "running_var"),
]
_CONV_NORM = [("conv", "conv", [("kernel", "weight", TORCH_CONV)]), ("norm", "bn", _BATCH_NORM)]
CONV = [("kernel", "conv.weight", TORCH_CONV), ("bias", "conv.bias")]
_CLASSIFIER = (
    "classifier/logits",
    "conv_seg",
    [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")],
)

FPN: list[Row] = [
    ("stage_{s}_lateral", "lateral_convs.{s-1}", CONV),
    ("stage_{s}_output", "fpn_convs.{s-1}", CONV),
]

# In mmsegmentation's modules `neck.` and `decode_head.`. A level's upsampling counts too, so that
# its convolutions have even numbers.
SEMANTIC_FPN: list[Row] = [
    ("fpn", "neck", FPN),
    *(
        (f"stage_{{s}}_conv_{i}", f"decode_head.scale_heads.{{s-1}}.{2 * i}", _CONV_NORM)
        for i in range(5)
    ),
    ("", "decode_head", [_CLASSIFIER]),
]


def upernet(pool_scales: tuple[int, ...]) -> list[Row]:
    """Rows of UPerNet, whose pooled maps are numbered."""
    pools = [
        (f"pool_{side}", f"psp_modules.{i}.1", _CONV_NORM) for i, side in enumerate(pool_scales)
    ]
    rows = [
        *pools,
        ("pool_out", "bottleneck", _CONV_NORM),
        ("stage_{s}_lateral", "lateral_convs.{s-1}", _CONV_NORM),
        ("stage_{s}_output", "fpn_convs.{s-1}", _CONV_NORM),
        ("fusion", "fpn_bottleneck", _CONV_NORM),
        _CLASSIFIER,
    ]
    return [("", "decode_head", rows)]


FCN: list[Row] = [("", "auxiliary_head", [("conv", "convs.0", _CONV_NORM), _CLASSIFIER])]


def with_backbone(model: DenseModel, source: str, rows: Sequence[Row]) -> dict[str, Table]:
    """Returns a model's names in other code, around those of its backbone in PyTorch.

    Args:
      model: the model.
      source: whose names, for messages.
      rows: of all but the backbone.
    """
    family = maxvit_jax.FAMILIES[maxvit_jax.find(model.backbone_name).family]
    inner = family.weights.tables(model.make_backbone())
    return {
        name: Table(
            f"{source} and {table.source}",
            ".",
            [("backbone", "backbone", table.rows), *rows],
            # `backbone` before a name does no harm: the patterns look inside.
            table.respell,
        )
        for name, table in inner.items()
        if table.separator == "."
    }
