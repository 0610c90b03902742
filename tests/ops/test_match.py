"""Matching against stored outputs of detectron2, and what padding must not change."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.ops.match import IGNORED, NEGATIVE, POSITIVE, level_of, match, sample
from tests.golden.arrays import load_arrays

RULES = {
    "rpn_0.3_0.7_low": {"negative": 0.3, "positive": 0.7, "low_quality": 0},
    "retina_0.4_0.5_low": {"negative": 0.4, "positive": 0.5, "low_quality": 0},
    "roi_0.5": {"negative": 0.5, "positive": 0.5},
    "roi_0.6": {"negative": 0.6, "positive": 0.6},
    "roi_0.7": {"negative": 0.7, "positive": 0.7},
}


def stored_iou():
    _, arrays = load_arrays("matcher")
    return arrays, arrays["iou"]


@pytest.mark.parametrize("name", RULES)
def test_matches_are_the_stored_ones(name):
    arrays, iou = stored_iou()
    last_is_padding = jnp.arange(7) < 6
    # Its row is 0: even as an object it has no best boxes, since nothing overlaps it.
    for real in (last_is_padding, jnp.ones(7, bool)):
        index, labels = match(iou, real, **RULES[name])
        np.testing.assert_array_equal(labels, arrays[f"{name}/label"])
        np.testing.assert_array_equal(index, arrays[f"{name}/index"])


@pytest.mark.parametrize("name", ["rpn_0.3_0.7_low", "roi_0.5"])
def test_order_and_padding_change_nothing(name):
    _, iou = stored_iou()
    order = np.random.default_rng(0).permutation(9)
    # Padding may overlap boxes perfectly, and must be told by `real` alone.
    padded = jnp.concatenate([iou[:6], jnp.ones((3, iou.shape[1]))])[order]
    index, labels = match(iou[:6], jnp.ones(6, bool), **RULES[name])
    again, same = match(padded, jnp.asarray(order < 6), **RULES[name])
    np.testing.assert_array_equal(labels, same)
    overlapped = iou[:6].max(0) > 0
    np.testing.assert_array_equal(order[again][overlapped], index[overlapped])


def test_nothing_is_positive_without_objects():
    _, iou = stored_iou()
    index, labels = match(iou, jnp.zeros(7, bool), **RULES["rpn_0.3_0.7_low"])
    assert (labels == NEGATIVE).all() and (index == 0).all()


def test_the_first_of_equal_objects_wins_and_best_boxes_keep_their_own():
    # The third box overlaps the last object most of all boxes, but the first object more.
    iou = jnp.array([[0.8, 0.2, 0.6], [0.8, 0.2, 0.1], [0.0, 0.1, 0.5]])
    rule = {"positive": 0.7, "negative": 0.3}
    index, labels = match(iou, jnp.ones(3, bool), **rule, low_quality=0)
    np.testing.assert_array_equal(index, [0, 0, 0])
    np.testing.assert_array_equal(labels, [POSITIVE, NEGATIVE, POSITIVE])
    _, labels = match(iou, jnp.ones(3, bool), **rule, low_quality=0.55)
    np.testing.assert_array_equal(labels, [POSITIVE, NEGATIVE, IGNORED])


def drawn(labels, count, share, seeds=32):
    labels = jnp.asarray(labels)
    keys = jax.random.split(jax.random.key(0), seeds)
    index, weights = jax.vmap(lambda key: sample(key, labels, count, share))(keys)
    return np.asarray(index), np.asarray(weights), np.asarray(labels)[index]


def test_samples_are_at_most_half_positive():
    index, weights, labels = drawn([1] * 10 + [0] * 20 + [-1] * 30, count=16, share=0.5)
    assert weights.all() and ((labels == 1).sum(1) == 8).all() and ((labels == 0).sum(1) == 8).all()
    assert (labels[:, :8] == 1).all()  # first
    assert all(len(set(row)) == 16 for row in index)
    assert len({tuple(sorted(row)) for row in index}) == 32  # another draw with every key
    assert set(index.ravel()) == set(range(30))  # everything has a chance


def test_negatives_fill_the_place_of_positives():
    _, weights, labels = drawn([1] * 3 + [0] * 20 + [-1] * 5, count=16, share=0.5)
    assert weights.all() and ((labels == 1).sum(1) == 3).all()


@pytest.mark.parametrize("others", [0, 30])
def test_slots_that_nothing_is_left_for_have_no_weight(others):
    index, weights, labels = drawn([1] * 10 + [0] * 2 + [-1] * others, count=16, share=0.25)
    assert (weights.sum(1) == 6).all() and weights[:, :6].all()
    assert ((labels == 1) & (weights > 0)).sum() == 4 * 32
    assert index.max() < 12 + others


def test_levels_are_the_stored_ones():
    manifest, arrays = load_arrays("roi_align_multilevel")
    assert "boundaries" in manifest["note"]
    for rule in ("detectron2", "mmdetection"):
        np.testing.assert_array_equal(level_of(arrays["boxes"], rule=rule), arrays["level"])


def test_rules_of_levels_differ_just_below_a_power():
    side = 112 - 5e-5  # by 1e-4 of 112 mmdetection's, not by detectron2's 2e-6
    box = partial(jnp.multiply, jnp.array([0.0, 0, 1, 1]))
    assert level_of(box(side)) == 2 and level_of(box(side), rule="mmdetection") == 3
    assert level_of(box(111.9), rule="mmdetection") == 2
    found = [int(level_of(box(s), least=3, most=7)) for s in (0, 1, 224, 448, 896, 1792, 9000)]
    assert found == [3, 3, 4, 5, 6, 7, 7]
    with pytest.raises(UserError, match="level rule 'mmdet': did you mean 'mmdetection'"):
        level_of(box(1), rule="mmdet")
