"""Metrics of any number of labels per image against scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from common.errors import UserError
from common.metrics.multilabel import MultilabelEvaluator, average_precision

CLASSES, EXAMPLES, THRESHOLD = 5, 120, 0.4


def sample():
    """Logits that are right more often than not; class 3 has no image, class 4 no prediction."""
    rng = np.random.default_rng(0)
    labels = rng.random((EXAMPLES, CLASSES)) < [0.5, 0.3, 0.1, 0, 0.2]
    logits = rng.normal(size=labels.shape) * 2 + 2 * labels - 1
    logits[:, 4] -= 100
    return logits.round(1), labels.astype(np.float32)  # some are equal


def evaluate(logits, labels, order=None, batch=EXAMPLES, mask=None):
    evaluator = MultilabelEvaluator(labels.shape[1], THRESHOLD)
    order = np.arange(len(labels)) if order is None else order
    mask = np.ones(len(labels)) if mask is None else mask
    for i in range(0, len(labels), batch):
        rows = order[i : i + batch]
        arrays = {"labels": labels[rows], "mask": mask[rows], "index": rows}
        evaluator.update({"logits": logits[rows]}, arrays)
    return evaluator


def test_against_scikit_learn():
    logits, labels = sample()
    evaluator = evaluate(logits, labels)
    found, scores = evaluator.compute(), evaluator.label_scores()
    probabilities = expit(logits)
    predicted = probabilities >= THRESHOLD
    known = labels.any(0)
    each = metrics.average_precision_score(labels[:, known], probabilities[:, known], average=None)
    np.testing.assert_allclose(scores.average_precision[known], each, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(scores.average_precision), ~known)
    np.testing.assert_allclose(found["map"], each.mean(), rtol=1e-5)
    micro = metrics.precision_recall_fscore_support(
        labels, predicted, average="micro", zero_division=0
    )
    names = ("precision_micro", "recall_micro", "f1_micro")
    np.testing.assert_allclose([found[name] for name in names], micro[:3])
    *each, examples = metrics.precision_recall_fscore_support(
        labels, predicted, average=None, zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1"), each, strict=True):
        np.testing.assert_allclose(np.nan_to_num(getattr(scores, name)), values, err_msg=name)
    np.testing.assert_array_equal(scores.examples, examples)
    np.testing.assert_array_equal(scores.predictions, predicted.sum(0))
    seen = (examples + predicted.sum(0)) > 0
    np.testing.assert_allclose(found["f1_macro"], each[2][seen].mean())
    clipped = np.clip(probabilities, 1e-300, 1 - 1e-16)
    loss = -(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)).mean()
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-6)
    assert found["examples"] == EXAMPLES


def test_order_batches_and_padding_do_not_matter():
    logits, labels = sample()
    expected = evaluate(logits, labels)
    order = np.random.default_rng(1).permutation(EXAMPLES)
    found = evaluate(logits, labels, order, batch=17)
    assert found.compute() == pytest.approx(expected.compute())
    np.testing.assert_array_equal(found.labelled.positions, np.arange(EXAMPLES))
    np.testing.assert_array_equal(found.labelled.labels, labels > 0)
    mask = np.arange(EXAMPLES) < 100
    logits[100:] = np.nan
    part = evaluate(logits, labels, mask=mask)
    assert part.compute() == evaluate(logits[:100], labels[:100]).compute()


def test_average_precision_of_ties():
    """Equal scores are one threshold, in whatever order they come."""
    truth = np.array([1, 0, 1, 0, 0, 1], bool)
    for scores in ([1, 1, 1, 1, 1, 1], [3, 2, 2, 2, 1, 1], [1, 2, 3, 4, 5, 6]):
        scores = np.array(scores, float)
        expected = metrics.average_precision_score(truth, scores)
        assert average_precision(scores, truth) == pytest.approx(expected)
        assert average_precision(scores[::-1], truth[::-1]) == pytest.approx(expected)


def test_nothing_or_what_is_not_finite():
    logits, labels = sample()
    with pytest.raises(UserError, match="no example"):
        MultilabelEvaluator(CLASSES, THRESHOLD).compute()
    with pytest.raises(UserError, match="no example"):
        evaluate(logits, labels, mask=np.zeros(EXAMPLES)).compute()
    with pytest.raises(UserError, match="not finite"):
        evaluate(logits + np.inf, labels)
