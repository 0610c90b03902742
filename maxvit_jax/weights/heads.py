"""Names of heads in other code: mmsegmentation's, and deeplab2's for its own decoder."""

from common.weights.layouts import TF_DEPTHWISE, TF_POINTWISE, TORCH_CONV, TORCH_POINTWISE
from common.weights.mapping import Row

_BATCH_NORM = [
    ("scale", "weight"),
    ("bias", "bias"),
    ("mean", "running_mean"),
    ("var", "running_var"),
]
_CONV_NORM = [("conv", "conv", [("kernel", "weight", TORCH_CONV)]), ("norm", "bn", _BATCH_NORM)]
_CONV = [("kernel", "conv.weight", TORCH_CONV), ("bias", "conv.bias")]
_CLASSIFIER = (
    "classifier/logits",
    "conv_seg",
    [("kernel", "weight", TORCH_POINTWISE), ("bias", "bias")],
)

FPN: list[Row] = [
    ("stage_{s}_lateral", "lateral_convs.{s-1}", _CONV),
    ("stage_{s}_output", "fpn_convs.{s-1}", _CONV),
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

_TF_NORM = (
    "norm",
    "_batch_norm",
    [("scale", "gamma"), ("bias", "beta"), ("mean", "moving_mean"), ("var", "moving_variance")],
)
_TF_CONV = [("conv", "_conv", [("kernel", "kernel")]), _TF_NORM]
_TF_DEPTHWISE_CONV = [
    ("conv", "_depthwise_conv", [("kernel", "depthwise_kernel", TF_DEPTHWISE)]),
    _TF_NORM,
]


def deeplabv3plus(rates: int) -> list[Row]:
    """Rows of deeplab2's decoder, by the paths of its objects.

    Args:
      rates: how many dilations there are.
    """
    branches = {"aspp_0": "", "aspp_pool": "_aspp_pool"}
    branches |= {f"aspp_{i}": f"_aspp_conv{i}" for i in range(1, rates + 1)}
    pyramid = [
        (ours, theirs, [("", "_conv_bn_act", _TF_CONV)]) for ours, theirs in branches.items()
    ]
    fusion = [
        (f"fusion_{i}_{part}", f"_fuse/_conv{i + 1}_bn_act/_{part}", rows)
        for i in range(2)
        for part, rows in {"depthwise": _TF_DEPTHWISE_CONV, "pointwise": _TF_CONV}.items()
    ]
    return [
        ("", "_aspp", [*pyramid, ("aspp_out", "_proj_conv_bn_act", _TF_CONV)]),
        ("low_level", "_project_conv_bn_act", _TF_CONV),
        *fusion,
        (
            "classifier/logits",
            "_final_conv/_conv",
            [("kernel", "kernel", TF_POINTWISE), ("bias", "bias")],
        ),
    ]
