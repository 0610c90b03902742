"""Classification metrics over a whole evaluation set, and the pictures that go with them."""

from collections.abc import Mapping

import numpy as np

from common.errors import UserError


class ClassificationEvaluator:
    """Accumulates top-1, top-5, per-class accuracy, confusion matrix and calibration error.

    Args:
      num_classes: labels are in [0, num_classes).
      bins: equal confidence bins of the expected calibration error (Guo et al. 2017).
    """

    def __init__(self, num_classes: int, bins: int = 15):
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self._top5, self._nll = 0, 0.0
        self._bin_count, self._bin_correct, self._bin_confidence = np.zeros((3, bins))

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `logits`, float `[batch, num_classes]`.
          batch: `label`, int `[batch]`; `mask` `[batch]`, 0 for padding, which is not counted.

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
        classes = len(self.confusion)
        if not 0 <= labels.min() <= labels.max() < classes:
            raise UserError(f"labels {labels.min()} to {labels.max()} don't fit {classes} classes")
        log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        predicted = logits.argmax(axis=1)
        np.add.at(self.confusion, (labels, predicted), 1)
        # Rank of the right class: how many score strictly higher (a tie counts for the label).
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        self._top5 += int(((logits > own).sum(axis=1) < 5).sum())
        self._nll -= float(np.take_along_axis(log_probabilities, labels[:, None], axis=1).sum())

        confidence = np.exp(log_probabilities.max(axis=1))
        bins = len(self._bin_count)
        index = np.minimum((confidence * bins).astype(int), bins - 1)
        np.add.at(self._bin_count, index, 1)
        np.add.at(self._bin_correct, index, predicted == labels)
        np.add.at(self._bin_confidence, index, confidence)

    def compute(self) -> dict[str, float]:
        """Returns fractions in [0, 1], the mean negative log likelihood in nats, and the count.

        Raises:
          UserError: nothing was counted.
        """
        total = int(self.confusion.sum())
        if not total:
            raise UserError("no example was evaluated: the data set is empty or unreadable")
        gaps = np.abs(self._bin_correct - self._bin_confidence)
        return {
            "accuracy_top1": float(np.trace(self.confusion) / total),
            "accuracy_top5": self._top5 / total,
            "loss": self._nll / total,
            "calibration_error": float(gaps.sum() / total),
            "examples": float(total),
        }

    def per_class_accuracy(self) -> np.ndarray:
        """Returns `[num_classes]` fractions, NaN for classes without examples."""
        support = self.confusion.sum(axis=1)
        right = np.diag(self.confusion)
        return np.where(support > 0, right / np.maximum(support, 1), np.nan)
