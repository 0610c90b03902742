"""Detectors' pyramids and heads against outputs of mmdetection's."""

import jax
import numpy as np
import pytest

from common.weights.mapping import Table, flatten, import_arrays, unflatten
from common.weights.readers import WeightFile
from maxvit_jax.heads.box_head import BoxHead
from maxvit_jax.heads.fpn import FPN
from maxvit_jax.heads.mask_head import MaskHead
from maxvit_jax.heads.retinanet import RetinaNetHead
from maxvit_jax.heads.rpn import RPNHead
from maxvit_jax.weights import detector
from tests.golden.cases import full_jit, load_module_case


def run(module, case, rows, part, *inputs):
    """Outputs of a module that is filled with a case's variables below `part`, all of them used."""
    theirs = {n: a for n, a in case.variables().items() if n.startswith(part)}
    shapes = jax.eval_shape(lambda *a: module.init(*a, train=False), jax.random.key(0), *inputs)
    shapes = {name: a.shape for name, a in flatten(shapes).items()}
    file = WeightFile(case.name, "npz", theirs)
    table = Table("reference", ".", [("", part, rows)])
    arrays, report = import_arrays(file, table, shapes)
    assert report.used == len(theirs) and not report.fresh and not report.left
    return full_jit(lambda v, *a: module.apply(v, *a, train=False))(unflatten(arrays), *inputs)


def pyramid(name):
    """The case, and its maps by our module."""
    case, inputs = load_module_case(name)
    first = 2 if name == "retinanet" else 1
    maps = {f"stage_{s}": inputs[f"stage{s}"] for s in range(first, 5)}
    extra = {"extra": 2, "extra_kind": "input"} if name == "retinanet" else {"extra": 1}
    rows = detector.neck(maps, 2 if name == "retinanet" else 0)
    maps = run(FPN(case.config["fpn_channels"], **extra), case, rows, "neck", maps)
    outputs = {f"p{first + 1 + i}": x for i, x in enumerate(maps.values())}
    assert len(outputs) == 5 and max(case.compare(outputs).values()) < 1
    return case, inputs, list(maps.values())


def as_maps(levels, maps, first, name):
    """Predictions per level, as `name` with a number, in the shape of maps."""
    return {
        f"{name}{first + i}": np.asarray(x).reshape(*m.shape[:3], -1)
        for i, (x, m) in enumerate(zip(levels, maps, strict=True))
    }


def test_retinanet():
    case, _, maps = pyramid("retinanet")
    head = RetinaNetHead(case.config["num_classes"], case.config["anchors"], maps[0].shape[-1])
    logits, deltas = run(head, case, detector.RETINANET, "bbox_head", maps)
    outputs = as_maps(logits, maps, 3, "cls") | as_maps(deltas, maps, 3, "box")
    assert len(outputs) == 10 and max(case.compare(outputs).values()) < 1


def test_proposals():
    case, _, maps = pyramid("mask_rcnn")
    head = RPNHead(case.config["anchors"], maps[0].shape[-1])
    logits, deltas = run(head, case, detector.RPN, "rpn_head", maps)
    outputs = as_maps(logits, maps, 2, "rpn_cls") | as_maps(deltas, maps, 2, "rpn_box")
    assert len(outputs) == 10 and max(case.compare(outputs).values()) < 1


def test_boxes_and_masks():
    case, inputs = load_module_case("mask_rcnn")
    classes = case.config["num_classes"]
    head = BoxHead(classes, channels=case.config["fc"])
    x = inputs["roi7"]
    real = np.ones(len(x), bool)
    logits, deltas = run(head, case, detector.BOX_HEAD, "roi_head.bbox_head", x, real)
    outputs = {"roi_cls": logits, "roi_box": np.asarray(deltas).reshape(len(x), -1)}
    head = MaskHead(classes, case.config["fpn_channels"])
    x = inputs["roi14"]
    real = np.ones(len(x), bool)
    outputs["mask"] = run(head, case, detector.MASK_HEAD, "roi_head.mask_head", x, real)
    assert outputs["mask"].shape == (4, 28, 28, classes)
    assert max(case.compare(outputs).values()) < 1


@pytest.mark.parametrize("convention, first", [("mm", 3), ("mg", 0)])
def test_background_is_last_whatever_the_convention(convention, first):
    head = BoxHead(3, channels=4, convention=convention)
    x, real = np.ones((2, 7, 7, 2), np.float32), np.ones(2, bool)
    variables = head.init(jax.random.key(0), x, real, train=False)
    bias = np.zeros(4, np.float32)
    bias[first] = 100  # where the weights of the convention have it
    variables["params"]["logits"]["bias"] = bias
    logits, _ = head.apply(variables, x, real, train=False)
    assert (np.asarray(logits).argmax(-1) == 3).all()
