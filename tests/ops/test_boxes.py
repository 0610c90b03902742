"""Boxes against stored outputs of detectron2, by hand, and where they are empty."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.ops.boxes import area, clip, decode, encode, giou, iou
from tests.golden.arrays import load_arrays

EMPTY = jnp.zeros(4)
BOX = jnp.array([10.0, 20.0, 30.0, 60.0])


@pytest.mark.parametrize("name", ["rpn", "stage1", "stage2", "stage3"])
def test_deltas_are_the_stored_ones(name):
    manifest, arrays = load_arrays("box_coder")
    weights, source = manifest["weights"][name], arrays["source"]
    deltas = encode(arrays["target"], source, weights)
    np.testing.assert_allclose(deltas, arrays[f"encode_{name}"], rtol=1e-5, atol=1e-4)
    decoded = decode(arrays["deltas"], source, weights)
    np.testing.assert_allclose(decoded, arrays[f"decode_{name}"], rtol=1e-5, atol=1e-4)
    unclamped = (deltas[:, 2:] / jnp.array(weights[2:]) < 4).all(1)
    assert unclamped.sum() > 40
    back = decode(deltas, source, weights)
    np.testing.assert_allclose(back[unclamped], arrays["target"][unclamped], rtol=1e-5, atol=1e-3)


def test_clamps_of_sides():
    deltas = jnp.array([[0.0, 0, 9, -9]])
    width, height = (decode(deltas, BOX)[0, 2:] - decode(deltas, BOX)[0, :2]).tolist()
    assert width == pytest.approx(20 * 62.5) and height == pytest.approx(40 * np.exp(-9), rel=1e-2)
    both = decode(deltas, BOX, clamp="both")[0]
    assert both[3] - both[1] == pytest.approx(40 / 62.5, rel=1e-4)
    with pytest.raises(UserError, match="clamp='bot': did you mean 'both'"):
        decode(deltas, BOX, clamp="bot")


def test_deltas_of_several_classes_share_their_anchors():
    deltas = jnp.linspace(-1, 1, 24).reshape(2, 3, 4)
    anchors = jnp.stack([BOX, 2 * BOX])
    together = decode(deltas, anchors[:, None])
    np.testing.assert_array_equal(together[:, 1], decode(deltas[:, 1], anchors))


def test_areas_and_overlaps_by_hand():
    boxes = jnp.array([[0.0, 0, 10, 10], [5, 5, 15, 15], [-5, 0, 5, 10], [9, 9, 2, 2]])
    np.testing.assert_array_equal(area(boxes), [100, 100, 100, 0])
    want = [[1, 25 / 175, 50 / 150, 0], [25 / 175, 1, 0, 0]]
    np.testing.assert_allclose(iou(boxes[:2], boxes), want, rtol=1e-6)


def test_generalised_overlaps_are_the_stored_ones():
    _, arrays = load_arrays("losses")
    found = giou(arrays["giou_a"], arrays["giou_b"])
    np.testing.assert_allclose(found, arrays["giou"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("other", [EMPTY, BOX])
def test_empty_boxes_have_finite_values_and_no_gradient_of_deltas(other):
    for boxes, anchors in ((EMPTY, other), (other, EMPTY)):
        deltas = encode(boxes, anchors)
        gradients = jax.grad(lambda *pair: encode(*pair).sum(), (0, 1))(boxes, anchors)
        np.testing.assert_array_equal(jnp.stack([deltas, *gradients]), 0)
        found = [giou(boxes, anchors), iou(boxes[None], anchors[None]).sum()]
        found += jax.grad(lambda *pair: giou(*pair), (0, 1))(boxes, anchors)
        assert all(np.isfinite(x).all() for x in found)
    assert iou(EMPTY[None], EMPTY[None]) == 0


def test_clips_to_height_and_width():
    boxes = jnp.array([[-5.0, -5, 50, 50], [100, 10, 120, 20]])
    want = [[0, 0, 40, 30], [40, 10, 40, 20]]
    np.testing.assert_array_equal(clip(boxes, (30, 40)), want)
    np.testing.assert_array_equal(clip(boxes, jnp.array([30, 40])), want)


def test_bfloat16_is_computed_in_float32():
    boxes = jnp.array([[1000, 1000, 1304, 1208], [1008, 1000, 1304, 1200]], jnp.bfloat16)
    exact = boxes.astype(jnp.float32)
    for fun in (iou, encode, decode, giou):
        found, want = fun(boxes, boxes[::-1]), fun(exact, exact[::-1])
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, want)
