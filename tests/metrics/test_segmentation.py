"""Segmentation metrics and losses against counts and formulas in float64."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.metrics.segmentation import SegmentationEvaluator, class_iou, count_pairs, scores
from maxvit_jax.segmentation_loss import cross_entropy, dice
from tests.golden.arrays import load_arrays


def test_counts_and_scores_are_the_stored_ones():
    expected, arrays = load_arrays("miou")
    evaluator = SegmentationEvaluator(expected["classes"])
    count = jax.jit(evaluator.sums)
    for labels, predicted in zip(arrays["labels"], arrays["predictions"], strict=True):
        batch = {"label_map": labels[None], "mask": np.ones(1, np.float32)}
        sums = count({"label_map": predicted[None]}, batch)
        evaluator.update(jax.device_get(sums), batch)
    np.testing.assert_array_equal(evaluator.confusion, arrays["confusion"])
    np.testing.assert_allclose(class_iou(evaluator.confusion), arrays["iou"])
    found = evaluator.compute()
    assert found["examples"] == len(arrays["labels"])
    assert found["miou"] == pytest.approx(expected["mIoU"], rel=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"], rel=1e-12)
    assert found["mean_accuracy"] == pytest.approx(expected["mean_class_accuracy"], rel=1e-12)


def test_padding_counts_nowhere():
    labels = np.zeros((2, 3, 3), np.uint8)
    batch = {"label_map": labels, "mask": np.array([1, 0], np.float32)}
    sums = jax.jit(SegmentationEvaluator(2).sums)({"label_map": labels}, batch)
    assert sums["confusion"].sum() == 9 and sums["examples"] == 1


def test_labels_beyond_the_classes_count_nowhere():
    labels = jnp.array([0, 1, 2, 200, 255], jnp.uint8)
    counts = count_pairs(labels, jnp.array([0, 0, 1, 1, 1], jnp.uint8), 2)
    np.testing.assert_array_equal(counts, [[1, 0], [1, 0]])


def test_a_class_that_is_nowhere_is_left_out():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert np.isnan(class_iou(confusion)[2])
    assert scores(confusion)["miou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_nothing_counted_is_said():
    with pytest.raises(UserError, match="no pixel was evaluated"):
        SegmentationEvaluator(2).compute()


def test_both_normalisations_are_the_stored_ones():
    expected, arrays = load_arrays("losses")
    logits, labels = arrays["seg_logits"], arrays["seg_label"]
    expected = expected["segmentation_cross_entropy"]
    valid = jax.jit(cross_entropy)(logits, labels)
    assert valid == pytest.approx(expected["mean_over_valid_pixels"], rel=1e-5)
    everything = jax.jit(functools.partial(cross_entropy, normaliser="all"))(logits, labels)
    assert everything == pytest.approx(expected["mean_over_all_pixels"], rel=1e-5)


def losses():
    return {
        "valid": lambda x, y: cross_entropy(x, y),
        "all": lambda x, y: cross_entropy(x, y, normaliser="all"),
        "weighted": lambda x, y: cross_entropy(x, y, class_weights=(1.0, 2.0, 0.5, 1.0, 3.0)),
        "dice": dice,
    }


@pytest.mark.parametrize("name", losses())
def test_ignored_pixels_have_no_gradient_at_all(name):
    _, arrays = load_arrays("losses")
    logits, labels = arrays["seg_logits"].copy(), arrays["seg_label"]
    ignored = labels == 255
    logits[ignored] = 1e30  # whatever the network says there
    gradient = np.asarray(jax.jit(jax.grad(losses()[name]))(logits, labels))
    assert ignored.any() and not gradient[ignored].any()
    assert np.isfinite(gradient).all() and gradient[~ignored].any()


def test_all_ignored_is_a_loss_of_zero():
    labels = np.full((1, 2, 2), 255, np.uint8)
    for loss in losses().values():
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.ones((1, 2, 2, 5)), labels)
        assert value == 0 and not np.any(gradient)


def test_class_weights_weigh():
    logits = jnp.zeros((1, 1, 2, 2)).at[0, 0, 0, 0].set(3.0)
    labels = np.array([[[0, 1]]], np.uint8)
    a, b = float(-jax.nn.log_softmax(logits[0, 0, 0])[0]), float(np.log(2))
    found = cross_entropy(logits, labels, class_weights=(1.0, 3.0))
    assert found == pytest.approx((a + 3 * b) / 4, rel=1e-6)


def test_dice_of_a_perfect_map_is_zero_and_of_a_wrong_one_is_one():
    labels = np.array([[[0, 1, 255, 1]]], np.uint8)
    right = 50.0 * jax.nn.one_hot(labels, 3)
    assert dice(right, labels) == pytest.approx(0, abs=1e-6)
    assert dice(jnp.roll(right, 1, -1), labels) == pytest.approx(1, abs=1e-6)
