"""Classification metrics over a whole evaluation set."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from scipy import sparse

from common.errors import UserError
from common.metrics.evaluator import Evaluator


class ClassificationEvaluator(Evaluator):
    """Accumulates top-1, top-5, per-class accuracy, confusion matrix and calibration error.

    Top-5 accuracy is left out where it would be 1 whatever the model: of five classes or fewer.

    Args:
      num_classes: labels are in [0, num_classes).
      bins: equal confidence bins of the expected calibration error (Guo et al. 2017).
    """

    outputs = ("logits",)
    inputs = ("label",)

    def __init__(self, num_classes: int, bins: int = 15):
        self._classes = num_classes
        top5 = ("accuracy_top5",) if num_classes > 5 else ()
        self.metrics = ("accuracy_top1", *top5, "loss", "calibration_error", "examples")
        self._pairs: Counter[tuple[int, int]] = Counter()  # (label, predicted): seen ones alone
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
        classes = self._classes
        if not 0 <= labels.min() <= labels.max() < classes:
            raise UserError(f"labels {labels.min()} to {labels.max()} don't fit {classes} classes")
        log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        predicted = logits.argmax(axis=1)
        self._pairs.update(zip(labels.tolist(), predicted.tolist(), strict=True))
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
        total = self._pairs.total()
        if not total:
            raise UserError("no example was evaluated: the data set is empty or unreadable")
        gaps = np.abs(self._bin_correct - self._bin_confidence)
        found = {
            "accuracy_top1": int(self._right.sum()) / total,
            "accuracy_top5": self._top5 / total,
            "loss": self._nll / total,
            "calibration_error": float(gaps.sum() / total),
            "examples": total,
        }
        return {name: found[name] for name in self.metrics}

    @property
    def confusion(self) -> sparse.coo_array:
        """Counts `[classes, classes]`, rows the right class, columns the predicted one."""
        index = np.array(list(self._pairs), np.int64).reshape(-1, 2).T
        counts = np.array(list(self._pairs.values()), np.int64)
        return sparse.coo_array((counts, tuple(index)), shape=(self._classes,) * 2)

    @property
    def support(self) -> np.ndarray:
        """Examples per class, `[classes]`."""
        return self._per_class(lambda label, predicted: True)

    @property
    def _right(self) -> np.ndarray:
        return self._per_class(lambda label, predicted: label == predicted)

    def per_class_accuracy(self) -> np.ndarray:
        """Returns `[num_classes]` fractions, NaN for classes without examples."""
        support = self.support
        return np.where(support > 0, self._right / np.maximum(support, 1), np.nan)

    def _per_class(self, counts: Callable[[int, int], bool]) -> np.ndarray:
        total = np.zeros(self._classes, np.int64)
        for (label, predicted), count in self._pairs.items():
            total[label] += count * counts(label, predicted)
        return total
