"""From scores to objects: the best pairs of a box and a class, and what is none."""

import jax
import numpy as np
import pytest

from maxvit_jax.heads.select import best_pairs, select_objects


@pytest.mark.parametrize("boxes, classes, count", [(40, 7, 25), (3, 5, 10), (2, 3, 100), (9, 1, 4)])
def test_best_pairs_are_the_best_of_all_pairs(boxes, classes, count):
    # A few distinct values: ties too.
    scores = np.random.default_rng(0).integers(0, 300, (boxes, classes)).astype(np.float32)
    best, rows, kinds = best_pairs(scores, count)
    np.testing.assert_array_equal(best, np.sort(scores.ravel())[::-1][:count])
    np.testing.assert_array_equal(scores[rows, kinds], best)
    pairs = set(zip(np.asarray(rows).tolist(), np.asarray(kinds).tolist(), strict=True))
    assert len(pairs) == len(best) == min(count, boxes * classes)


BOXES = np.array(
    [[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [30, 30, 40, 40], [50, 50, 60, 60]],
    np.float32,
)


def test_of_overlapping_boxes_of_a_class_the_best_is_an_object():
    scores = np.array([0.6, 0.7, 0.3, 0.05, 0.06], np.float32)
    found = jax.jit(select_objects)(BOXES, scores, np.array([1, 1, 2, 0, 0]))
    assert found.classes.shape == found.scores.shape == (100,) and found.masks is None
    np.testing.assert_array_equal(found.classes[:3], [1, 2, 0])
    np.testing.assert_array_equal(found.boxes[:3], BOXES[[1, 2, 4]])
    np.testing.assert_array_equal(found.scores[:3], scores[[1, 2, 4]])
    # 0.05 is no object; the rest is padding.
    assert (found.classes[3:] == -1).all() and not found.scores[3:].any()
    assert not found.boxes[3:].any()


def test_boxes_of_which_nothing_is_left_are_no_objects():
    boxes = BOXES.copy()
    boxes[3, 2], boxes[4, 1] = 30, 70  # of no width, and upside down
    found = select_objects(boxes, np.full(5, 0.9, np.float32), np.arange(5))
    np.testing.assert_array_equal(found.classes[:4], [0, 1, 2, -1])


def test_a_hundred_at_most():
    x = np.arange(150, dtype=np.float32) * 10
    boxes = np.stack([x, x * 0, x + 10, x * 0 + 10], -1)
    scores = np.linspace(0.2, 0.8, 150, dtype=np.float32)
    found = select_objects(boxes, scores, np.zeros(150, int))
    np.testing.assert_array_equal(found.scores, scores[::-1][:100])
    np.testing.assert_array_equal(found.boxes, boxes[::-1][:100])
