"""Classification metrics against scikit-learn and formulas written out."""

import csv
import tracemalloc

import numpy as np
import pytest
from etils import epath
from PIL import Image
from sklearn import metrics

from common.errors import UserError
from common.metrics.classification import ClassificationEvaluator
from maxvit_jax.classification_report import MISTAKES, write_classification_report

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
    index = np.arange(len(labels))
    for i in range(0, len(labels), batch):
        part = slice(i, i + batch)
        batch_arrays = {"label": labels[part], "mask": mask[part], "index": index[part]}
        evaluator.update({"logits": logits[part]}, batch_arrays)
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


def scores_of_scikit_learn(labels, predicted, average, names=None):
    scored = metrics.precision_recall_fscore_support(
        labels, predicted, labels=names, average=average, zero_division=0
    )
    return dict(zip(("precision", "recall", "f1", "examples"), scored, strict=True))


@pytest.mark.parametrize("lacking", [(), (3,), (0, 6)])
def test_classes_against_scikit_learn(lacking):
    """Also where classes have no examples, and one of them is never predicted either."""
    logits, labels = sample()
    chosen = ~np.isin(labels, lacking)
    logits, labels = logits[chosen], labels[chosen]
    logits[:, lacking[:1]] -= 100
    evaluator, predicted = evaluate(logits, labels), logits.argmax(1)
    scores = evaluator.class_scores()
    expected = scores_of_scikit_learn(labels, predicted, None, range(CLASSES))
    for name, values in expected.items():
        np.testing.assert_allclose(np.nan_to_num(getattr(scores, name)), values, err_msg=name)
    np.testing.assert_array_equal(np.isnan(scores.recall), np.isin(range(CLASSES), lacking))
    np.testing.assert_array_equal(np.isnan(scores.f1), np.isin(range(CLASSES), lacking[:1]))
    found = evaluator.compute()
    for name, value in scores_of_scikit_learn(labels, predicted, "macro").items():
        if name != "examples":
            np.testing.assert_allclose(found[f"{name}_macro"], value, err_msg=name)


def test_every_image_is_kept_in_order():
    """Whatever the order that they come in."""
    logits, labels = sample()
    order = np.random.default_rng(1).permutation(EXAMPLES)
    evaluator = ClassificationEvaluator(CLASSES)
    batch = {"label": labels[order], "index": order, "mask": np.ones(EXAMPLES)}
    evaluator.update({"logits": logits[order]}, batch)
    found = evaluator.classified
    np.testing.assert_array_equal(found.positions, np.arange(EXAMPLES))
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.predicted, logits.argmax(1))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, probabilities.max(1), rtol=1e-5)
    own = probabilities[np.arange(EXAMPLES), labels]
    np.testing.assert_allclose(found.label_probabilities, own, rtol=1e-5)


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
    """Of 6,000 a dense matrix of counts would be 288 MB; of ImageNet-21k's 21,841, 3.8 GB."""
    classes = 6_000
    evaluator = ClassificationEvaluator(classes)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 8)
    logits = rng.normal(size=(8, classes)).astype(np.float32)
    logits[:6] += 20 * np.eye(classes, dtype=np.float32)[labels[:6]]
    tracemalloc.start()
    batch = {"label": labels, "mask": np.ones(8, np.float32), "index": np.arange(8)}
    evaluator.update({"logits": logits}, batch)
    found = evaluator.compute()
    assert found["accuracy_top1"] == 6 / 8
    names = [f"class {i}" for i in range(classes)]
    said = write_report(tmp_path, found, evaluator, names)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert said[-1] == "no picture of the confusions: more than 500 classes"
    assert not (tmp_path / "confusion.png").exists()
    assert evaluator.confusion.sum() == 8 == evaluator.class_scores().examples.sum()


# ---------------------------------------------------------------- report


def write_report(folder, found, evaluator, names):
    """Each image is a square of one colour, named by its position."""

    def photo(position, side):
        del side
        return np.full((40, 40, 3), position % 256, np.uint8)

    name = "{}.png".format
    return write_classification_report(epath.Path(folder), found, evaluator, names, name, photo)


def rows_of(path):
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_report(tmp_path):
    """What each file says, against the logits."""
    logits, labels = sample()
    evaluator = evaluate(logits, labels)
    names = [f"class {i}" for i in range(CLASSES)]
    said = write_report(tmp_path, evaluator.compute(), evaluator, names)
    predicted = logits.argmax(1)
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).max(1)

    rows = rows_of(tmp_path / "predictions.csv")
    assert [row["file"] for row in rows] == [f"{i}.png" for i in range(EXAMPLES)]
    assert [row["label"] for row in rows] == [names[i] for i in labels]
    assert [row["prediction"] for row in rows] == [names[i] for i in predicted]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities, 1e-5)

    pairs = rows_of(tmp_path / "confusions.csv")
    confusion = metrics.confusion_matrix(labels, predicted)
    assert sum(int(pair["count"]) for pair in pairs) == confusion.sum() - np.trace(confusion)
    first = pairs[0]
    i, j = names.index(first["label"]), names.index(first["prediction"])
    np.fill_diagonal(confusion, 0)
    assert confusion[i, j] == int(first["count"]) == confusion.max()
    assert said[0].startswith(f"confused most: {names[i]} taken for {names[j]}, {first['count']} ")

    wrong = np.flatnonzero(labels != predicted)
    surest = wrong[probabilities[wrong].argsort()[::-1]][:MISTAKES]
    with Image.open(tmp_path / "mistakes.png") as picture:
        sheet = np.asarray(picture)
    assert len(surest) == 24 and sheet.shape == (4 * 220, 6 * 204, 3)
    assert [sheet[220 * (k // 6) + 9, 204 * (k % 6) + 9, 0] for k in range(24)] == surest.tolist()

    html = (tmp_path / "report.html").read_text()
    assert "http" not in html and html.count("data:image/png;base64,") == 2
    assert all(f"<td>{i}.png</td>" in html for i in surest)


def test_report_without_mistakes(tmp_path):
    evaluator = evaluate(np.eye(CLASSES) * 9, np.arange(CLASSES))
    assert write_report(tmp_path, evaluator.compute(), evaluator, list("abcdefg")) == []
    assert not (tmp_path / "mistakes.png").exists()
    assert "No image was taken for another class" in (tmp_path / "report.html").read_text()
    assert rows_of(tmp_path / "confusions.csv") == []
