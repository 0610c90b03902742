"""Heads and necks against outputs of the code that published models were trained with."""

import jax
import pytest

from common.weights.layouts import TF_DEPTHWISE, TF_POINTWISE
from common.weights.mapping import Table, flatten, import_arrays, unflatten
from common.weights.readers import WeightFile
from maxvit_jax.heads.deeplabv3plus import DeepLabV3Plus
from maxvit_jax.heads.fcn import FCN
from maxvit_jax.heads.fpn import FPN
from maxvit_jax.heads.semantic_fpn import SemanticFPN
from maxvit_jax.heads.upernet import UPerNet
from maxvit_jax.weights import heads
from tests.golden.cases import full_jit, load_module_case

STRIDES = {f"stage_{s}": 2 ** (s + 1) for s in range(1, 5)}

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


def deeplabv3plus(rates):
    """Names in deeplab2's decoder, by the paths of its objects."""
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


def run(module, case, rows, maps, part=""):
    """Outputs of a module that is filled with a case's variables below `part`, all of them used."""
    theirs = {n: a for n, a in case.variables().items() if n.startswith(part)}
    shapes = jax.eval_shape(lambda *a: module.init(*a, train=False), jax.random.key(0), maps)
    shapes = {name: a.shape for name, a in flatten(shapes).items()}
    file = WeightFile(case.name, "npz", theirs)
    table = Table("reference", "/" if case.name.startswith("deeplab") else ".", rows)
    arrays, report = import_arrays(file, table, shapes)
    assert report.used == len(theirs) and not report.fresh and not report.left
    return full_jit(lambda v, m: module.apply(v, m, train=False))(unflatten(arrays), maps)


def stages(inputs, first=1):
    return {f"stage_{s}": inputs[f"stage{s}"] for s in range(first, 5)}


@pytest.mark.parametrize("name", ["semantic_fpn", "semantic_fpn_odd"])
def test_semantic_fpn(name):
    case, inputs = load_module_case(name)
    fields = {"fpn_channels": case.config["fpn_channels"], "channels": case.config["head_channels"]}
    head = SemanticFPN(case.config["num_classes"], STRIDES, **fields)
    outputs = {"logits": run(head, case, heads.SEMANTIC_FPN, stages(inputs))}
    neck = FPN(fields["fpn_channels"])
    maps = run(neck, case, [("", "neck", heads.FPN)], stages(inputs), part="neck")
    outputs |= {f"fpn{i}": x for i, x in enumerate(maps.values())}
    assert max(case.compare(outputs).values()) < 1


def test_upernet_and_its_auxiliary_head():
    case, inputs = load_module_case("upernet")
    config = case.config
    head = UPerNet(config["num_classes"], config["channels"], tuple(config["pool_scales"]))
    rows = heads.upernet(head.pool_scales)
    outputs = {"logits": run(head, case, rows, stages(inputs), part="decode_head")}
    auxiliary = FCN(config["num_classes"], config["auxiliary_channels"])
    x = inputs["stage3"]
    outputs["auxiliary"] = run(auxiliary, case, heads.FCN, x, part="auxiliary_head")
    assert max(case.compare(outputs).values()) < 1


def test_deeplabv3plus():
    case, inputs = load_module_case("deeplabv3plus")
    config = case.config
    head = DeepLabV3Plus(
        config["num_classes"],
        tuple(config["atrous_rates"]),
        config["aspp_channels"],
        config["decoder_channels"],
        config["low_level_channels_project"],
    )
    maps = {"stage_1": inputs["res2"], "stage_4": inputs["res5"]}
    outputs = {"logits": run(head, case, deeplabv3plus(3), maps)}
    assert max(case.compare(outputs).values()) < 1
