"""Both formulations of non-maximum suppression against stored outputs of onnxruntime."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.nms import nms
from tests.golden.arrays import load_arrays

kept_at_once = jax.jit(nms, static_argnames=("most", "implementation"))
both = pytest.mark.parametrize("implementation", ["reference", "fixed_point"])


@both
def test_indices_are_the_stored_ones(implementation):
    _, arrays = load_arrays("nms")
    boxes, scores = jnp.asarray(arrays["boxes"]), jnp.asarray(arrays["scores"])

    @jax.jit
    def kept(threshold):
        one = partial(nms, iou_threshold=threshold, most=100, implementation=implementation)
        classes = jax.vmap(one, (None, 0))
        return jax.vmap(classes)(boxes, scores)

    for threshold in (0.3, 0.5, 0.7, 0.9):
        index, found = kept(threshold)
        np.testing.assert_array_equal(jnp.where(found, index, -1), arrays[f"keep_{threshold}"])


@both
def test_classes_at_once_are_the_stored_ones(implementation):
    _, arrays = load_arrays("nms")
    numbers = np.arange(3).repeat(400)
    for boxes, scores, want in zip(
        arrays["boxes"], arrays["scores"], arrays["multiclass_0.5_index_class_score"], strict=True
    ):
        flat = jnp.where(scores > 0.05, scores, -jnp.inf).ravel()
        index, found = kept_at_once(
            np.tile(boxes, (3, 1)), flat, 0.5, 100, classes=numbers, implementation=implementation
        )
        assert found.all()
        np.testing.assert_array_equal(index % 400, want[:, 0])
        np.testing.assert_array_equal(numbers[index], want[:, 1])
        np.testing.assert_array_equal(flat[index], want[:, 2])


@both
@pytest.mark.parametrize("threshold, name", [(0.5, "0.5"), (1 / 3, "third")])
def test_overlaps_of_just_the_threshold_do_not_suppress(threshold, name, implementation):
    _, arrays = load_arrays("nms")
    boxes, scores = arrays["edge_boxes"], jnp.asarray(arrays["edge_scores"])
    index, found = kept_at_once(boxes, scores, threshold, 12, implementation=implementation)
    np.testing.assert_array_equal(index[found], arrays[f"edge_keep_{name}"])
    np.testing.assert_array_equal(index[~found], 0)


@both
def test_equal_scores_keep_their_order_and_padding_is_nothing(implementation):
    # Rows 0 and 3 overlap, as 1 and 4; 2 is the best score of all, but padding over 0 and 3.
    boxes = jnp.array([[0, 0, 8, 8], [20, 0, 28, 8], [0, 0, 8, 8], [0, 0, 8, 7], [20, 0, 28, 9]])
    scores = jnp.array([0.5, 0.5, -jnp.inf, 0.5, 0.5])
    index, found = kept_at_once(boxes, scores, 0.5, 4, implementation=implementation)
    np.testing.assert_array_equal(index, [0, 1, 0, 0])
    np.testing.assert_array_equal(found, [True, True, False, False])
    _, found = kept_at_once(boxes, jnp.full(5, -jnp.inf), 0.5, 4, implementation=implementation)
    assert not found.any()


@pytest.mark.parametrize("most", [10, 80])
def test_formulations_agree(most):
    rng = np.random.default_rng(most)
    first = rng.uniform(0, 60, (6, 60, 2))
    boxes = np.concatenate([first, first + rng.uniform(0, 50, (6, 60, 2))], -1)
    scores = rng.integers(0, 20, (6, 60)) / 20  # many are equal
    scores[:, ::7] = -np.inf
    classes = rng.integers(0, 2, (6, 60))

    @partial(jax.jit, static_argnums=0)
    def kept(implementation, threshold):
        def one(boxes, scores, classes):
            return nms(
                boxes, scores, threshold, most, classes=classes, implementation=implementation
            )

        return jax.vmap(one)(boxes, scores, classes)

    for threshold in (0.3, 0.5, 0.7, 0.9):
        reference, fixed_point = kept("reference", threshold), kept("fixed_point", threshold)
        jax.tree.map(np.testing.assert_array_equal, reference, fixed_point)
        assert 0 < reference[1].sum() <= 6 * most


def test_scores_have_no_gradient_and_boxes_are_read_in_float32():
    boxes = jnp.array([[1000, 0, 1016, 8], [1000, 0, 1016, 16]], jnp.bfloat16)

    def total(boxes):
        index, found = nms(boxes, boxes[:, 3] / 16, 0.5, 2)
        return (boxes[index] * found[:, None]).sum()

    np.testing.assert_array_equal(jax.grad(total)(boxes), 1)  # kept both: IoU is 0.5 exactly


def test_an_unknown_implementation_is_named():
    with pytest.raises(UserError, match="implementation='greedy': choose from auto, fixed_point"):
        nms(jnp.zeros((1, 4)), jnp.zeros(1), 0.5, 1, implementation="greedy")
