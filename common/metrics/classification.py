"""Classification metrics over a whole evaluation set."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from common.errors import UserError
from common.metrics.evaluator import Evaluator


class Classified(NamedTuple):
    """Images with what was predicted of them, in the order of their positions.

    Attributes:
      positions: integers `[images]`: in the source.
      labels: the same, the right classes.
      predicted: the same, the most probable classes.
      probabilities: float32 `[images]`: of the predicted classes.
      label_probabilities: the same of the right ones.
    """

    positions: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    label_probabilities: np.ndarray


class ClassScores(NamedTuple):
    """How well each class is told from the others, `[classes]` each.

    Attributes:
      examples: images of the class.
      predictions: images that are taken for it.
      precision: share of these that are right; NaN without predictions.
      recall: share of its images that are found, its accuracy; NaN without examples.
      f1: harmonic mean of both; NaN without either.
    """

    examples: np.ndarray
    predictions: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


class ClassificationEvaluator(Evaluator):
    """Accuracy, precision, recall, F1, confusion matrix and calibration error; what became of each
    image is kept on the host.

    Top-5 accuracy is left out where it would be 1 whatever the model: of five classes or fewer.

    Args:
      num_classes: labels are in [0, num_classes).
      bins: equal confidence bins of the expected calibration error (Guo et al. 2017).
    """

    outputs = ("logits",)
    inputs = ("label",)

    def __init__(self, num_classes: int, bins: int = 15):
        self._classes, self._bins = num_classes, bins
        top5 = ("accuracy_top5",) if num_classes > 5 else ()
        self.metrics = (
            *("accuracy_top1", *top5, "precision_macro", "recall_macro", "f1_macro"),
            *("loss", "calibration_error", "examples"),
        )
        self._seen: list[Classified] = []
        self._top5, self._nll = 0, 0.0

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `logits`, float `[batch, num_classes]`.
          batch: `label` and `index`, int `[batch]`; `mask` `[batch]`, 0 for padding, which is not
            counted.

        Raises:
          UserError: logits that are not finite, or labels that are not in [0, num_classes).
        """
        real = batch["mask"].astype(bool)
        logits = np.asarray(outputs["logits"], np.float64)[real]
        labels = batch["label"][real]
        if not len(labels):
            return
        if not np.isfinite(logits).all():
            raise UserError("the model's logits are not finite: its weights can't be evaluated")
        classes = self._classes
        if not 0 <= labels.min() <= labels.max() < classes:
            raise UserError(f"labels {labels.min()} to {labels.max()} don't fit {classes} classes")
        log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        own_log_probability = np.take_along_axis(log_probabilities, labels[:, None], 1)[:, 0]
        # Rank of the right class: how many score strictly higher (a tie counts for the label).
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        self._top5 += int(((logits > own).sum(axis=1) < 5).sum())
        self._nll -= float(own_log_probability.sum())
        classified = Classified(
            batch["index"][real],
            labels,
            logits.argmax(axis=1),
            np.float32(np.exp(log_probabilities.max(axis=1))),
            np.float32(np.exp(own_log_probability)),
        )
        self._seen.append(classified)

    def compute(self) -> dict[str, float]:
        """Returns fractions in [0, 1], the mean negative log likelihood in nats, and the count.

        Means over classes (`..._macro`) are scikit-learn's: over those with examples or
        predictions, an undefined precision or recall being 0.

        Raises:
          UserError: nothing was counted.
        """
        if not self._seen:
            raise UserError("no example was evaluated: the data set is empty or unreadable")
        found = self.classified
        total, right = len(found.labels), found.labels == found.predicted
        scores = self.class_scores()
        counted = scores.examples + scores.predictions > 0
        macro = {
            f"{name}_macro": float(np.nan_to_num(getattr(scores, name)[counted]).mean())
            for name in ("precision", "recall", "f1")
        }
        values = {
            "accuracy_top1": int(right.sum()) / total,
            "accuracy_top5": self._top5 / total,
            **macro,
            "loss": self._nll / total,
            "calibration_error": self._calibration_error(found.probabilities, right),
            "examples": total,
        }
        return {name: values[name] for name in self.metrics}

    @property
    def classified(self) -> Classified:
        """All images seen."""
        found = Classified(*map(np.concatenate, zip(*self._seen, strict=True)))
        order = np.argsort(found.positions, kind="stable")
        return Classified(*(values[order] for values in found))

    @property
    def confusion(self) -> sparse.coo_array:
        """Counts `[classes, classes]`, rows the right class, columns the predicted one."""
        found = self.classified
        pairs = found.labels.astype(np.int64) * self._classes + found.predicted
        pairs, counts = np.unique(pairs, return_counts=True)
        return sparse.coo_array(
            (counts, np.divmod(pairs, self._classes)), shape=(self._classes,) * 2
        )

    def class_scores(self) -> ClassScores:
        """Returns precision, recall and F1 of every class."""
        found = self.classified
        right = found.labels[found.labels == found.predicted]
        counted = (found.labels, found.predicted, right)
        examples, predictions, hits = (
            np.bincount(labels, minlength=self._classes) for labels in counted
        )
        return ClassScores(
            examples,
            predictions,
            share(hits, predictions),
            share(hits, examples),
            share(2 * hits, examples + predictions),
        )

    def _calibration_error(self, confidence: np.ndarray, right: np.ndarray) -> float:
        bins = np.minimum((confidence * self._bins).astype(int), self._bins - 1)
        correct, confident = (
            np.bincount(bins, weights, self._bins) for weights in (right, confidence)
        )
        return float(np.abs(correct - confident).sum() / len(right))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns `part / whole` of counts, NaN where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
