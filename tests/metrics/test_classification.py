"""Classification metrics against scikit-learn and formulas written out."""

import tracemalloc

import numpy as np
import pytest
from etils import epath
from sklearn import metrics

from common.errors import UserError
from common.metrics.classification import ClassificationEvaluator
from maxvit_jax.tasks.report import write_tables

CLASSES, EXAMPLES = 7, 200


def sample(classes=CLASSES, examples=EXAMPLES, seed=0):
    """Logits that are right more often than not, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=examples)
    logits = rng.normal(size=(examples, classes)) * 2
    logits[np.arange(examples), labels] += 1.5
    return logits, labels.astype(np.int32)


def evaluate(logits, labels, mask=None, batch=EXAMPLES, classes=CLASSES):
    evaluator = ClassificationEvaluator(classes)
    mask = np.ones(len(labels), np.float32) if mask is None else mask
    for i in range(0, len(labels), batch):
        part = slice(i, i + batch)
        evaluator.update({"logits": logits[part]}, {"label": labels[part], "mask": mask[part]})
    return evaluator


def test_against_scikit_learn():
    logits, labels = sample()
    evaluator = evaluate(logits, labels)
    found, names = evaluator.compute(), range(CLASSES)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = logits.argmax(1)
    assert found["accuracy_top1"] == metrics.accuracy_score(labels, predicted)
    top5 = metrics.top_k_accuracy_score(labels, logits, k=5, labels=names)
    assert found["accuracy_top5"] == top5
    nll = metrics.log_loss(labels, probabilities, labels=names)
    np.testing.assert_allclose(found["loss"], nll, rtol=1e-5)
    assert found["examples"] == EXAMPLES
    confusion = metrics.confusion_matrix(labels, predicted, labels=names)
    np.testing.assert_array_equal(evaluator.confusion.toarray(), confusion)
    recall = metrics.recall_score(labels, predicted, labels=names, average=None)
    np.testing.assert_allclose(evaluator.per_class_accuracy(), recall)


def test_calibration_error_by_its_definition():
    logits, labels = sample()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence, right = probabilities.max(1), logits.argmax(1) == labels
    expected = 0.0
    for i in range(15):
        chosen = (confidence >= i / 15) & (confidence < (i + 1) / 15)
        if chosen.any():
            gap = abs(right[chosen].mean() - confidence[chosen].mean())
            expected += chosen.mean() * gap
    found = evaluate(logits, labels).compute()["calibration_error"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_certain_and_right_is_perfectly_calibrated():
    found = evaluate(np.eye(CLASSES) * 1000, np.arange(CLASSES)).compute()
    assert found["calibration_error"] == 0 and found["loss"] == 0 and found["accuracy_top1"] == 1


def test_padding_does_not_count():
    logits, labels = sample()
    expected = evaluate(logits, labels).compute()
    junk = np.full((50, CLASSES), np.nan)
    mask = np.concatenate([np.ones(EXAMPLES), np.zeros(50)]).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(mask))
    logits, labels = np.concatenate([logits, junk]), np.concatenate([labels, np.full(50, -1)])
    found = evaluate(logits[order], labels[order], mask[order], batch=17).compute()
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batches_do_not_matter(batch):
    logits, labels = sample()
    expected, found = evaluate(logits, labels), evaluate(logits, labels, batch=batch)
    assert found.compute() == pytest.approx(expected.compute())
    np.testing.assert_array_equal(found.confusion.toarray(), expected.confusion.toarray())


def test_classes_without_examples():
    logits, labels = sample()
    chosen = labels != 3
    accuracy = evaluate(logits[chosen], labels[chosen]).per_class_accuracy()
    assert np.isnan(accuracy[3]) and np.isfinite(np.delete(accuracy, 3)).all()


@pytest.mark.parametrize(("classes", "there"), [(1, False), (3, False), (5, False), (6, True)])
def test_top5_of_few_classes_is_left_out(classes, there):
    logits, labels = sample(classes)
    evaluator = evaluate(logits, labels, classes=classes)
    found = evaluator.compute()
    assert tuple(found) == evaluator.metrics and ("accuracy_top5" in found) == there
    assert type(found["examples"]) is int


def test_empty():
    with pytest.raises(UserError, match="no example"):
        evaluate(*sample(), mask=np.zeros(EXAMPLES)).compute()


def test_logits_that_are_not_finite():
    logits, labels = sample()
    logits[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite"):
        evaluate(logits, labels)


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_labels_out_of_range(label):
    logits, labels = sample()
    labels[5] = label
    with pytest.raises(UserError, match=f"{label}.* 7 classes"):
        evaluate(logits, labels)


def test_many_classes_take_little(tmp_path):
    """ImageNet-21k's 21,841: a dense matrix of counts would be 3.8 GB, its picture 34 GB."""
    classes = 21_841
    evaluator = ClassificationEvaluator(classes)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 8)
    logits = rng.normal(size=(8, classes)).astype(np.float32)
    logits[:6] += 20 * np.eye(classes, dtype=np.float32)[labels[:6]]
    tracemalloc.start()
    evaluator.update({"logits": logits}, {"label": labels, "mask": np.ones(8, np.float32)})
    assert evaluator.compute()["accuracy_top1"] == 6 / 8
    names = [f"class {i}" for i in range(classes)]
    said = write_tables(epath.Path(tmp_path), names, evaluator)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert said == ["no picture of the confusions: more than 500 classes"]
    assert [path.name for path in tmp_path.iterdir()] == ["per_class.csv"]
    assert evaluator.confusion.sum() == 8 == evaluator.support.sum()
