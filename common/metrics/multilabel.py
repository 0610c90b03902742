"""How well any number of labels per image are told: average precision, precision, recall, F1."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from common.errors import UserError
from common.metrics.classification import share
from common.metrics.evaluator import Evaluator


class Labelled(NamedTuple):
    """Images with what was predicted of them, in the order of their positions.

    Attributes:
      positions: integers `[images]`: in the source.
      labels: bool `[images, classes]`.
      logits: float32 `[images, classes]`, before the sigmoid.
    """

    positions: np.ndarray
    labels: np.ndarray
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """float32 `[images, classes]`; large logits, which differ, may have equal ones."""
        return expit(self.logits)


class LabelScores(NamedTuple):
    """How well each label is told, `[classes]` each.

    Attributes:
      examples: images that have it.
      predictions: images whose probability reaches the threshold.
      average_precision: area under precision over recall, of all thresholds; NaN without examples.
      precision: share of the predictions that are right; NaN without any.
      recall: share of the examples that are found; NaN without any.
      f1: harmonic mean of both; NaN without either.
    """

    examples: np.ndarray
    predictions: np.ndarray
    average_precision: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


class MultilabelEvaluator(Evaluator):
    """Keeps all probabilities on the host: average precision is of the whole set.

    Args:
      num_classes: labels there are.
      threshold: labels of this probability or more are predicted.
    """

    metrics = ("map", "f1_macro", "f1_micro", "precision_micro", "recall_micro", "loss", "examples")
    outputs = ("logits",)
    inputs = ("labels",)

    def __init__(self, num_classes: int, threshold: float):
        self._classes, self._threshold = num_classes, threshold
        self._seen: list[Labelled] = []
        self._loss = 0.0

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `logits`, float `[batch, classes]`.
          batch: `labels`, 0 or 1, `[batch, classes]`; `index`, int `[batch]`; `mask` `[batch]`, 0
            for padding.

        Raises:
          UserError: logits that are not finite.
        """
        real = batch["mask"].astype(bool)
        logits = np.asarray(outputs["logits"], np.float64)[real]
        labels = batch["labels"][real] > 0
        if not np.isfinite(logits).all():
            raise UserError("the model's logits are not finite: its weights can't be evaluated")
        losses = np.logaddexp(0, logits) - labels * logits
        self._loss += float(losses.sum()) / self._classes
        self._seen.append(Labelled(batch["index"][real], labels, np.float32(logits)))

    def compute(self) -> dict[str, float]:
        """Returns fractions in [0, 1], the mean binary cross entropy in nats, and the count.

        `map` is the mean average precision over labels with examples, `f1_macro` the mean F1 over
        those with examples or predictions, `..._micro` are of all decisions together.

        Raises:
          UserError: nothing was counted.
        """
        found = self.labelled if self._seen else None
        if found is None or not len(found.positions):
            raise UserError("no example was evaluated: the data set is empty or unreadable")
        scores = self.label_scores()
        predicted = found.probabilities >= self._threshold
        hits, given, wanted = (x.sum() for x in (predicted & found.labels, predicted, found.labels))
        return {
            "map": _mean(scores.average_precision),
            "f1_macro": _mean(scores.f1),
            "f1_micro": float(2 * hits / max(given + wanted, 1)),
            "precision_micro": float(hits / max(given, 1)),
            "recall_micro": float(hits / max(wanted, 1)),
            "loss": self._loss / len(found.positions),
            "examples": float(len(found.positions)),
        }

    @property
    def labelled(self) -> Labelled:
        """All images seen."""
        found = Labelled(*map(np.concatenate, zip(*self._seen, strict=True)))
        order = np.argsort(found.positions, kind="stable")
        return Labelled(*(values[order] for values in found))

    def label_scores(self) -> LabelScores:
        """Returns the scores of every label."""
        found = self.labelled
        labels, predicted = found.labels, found.probabilities >= self._threshold
        examples, predictions, hits = (x.sum(0) for x in (labels, predicted, predicted & labels))
        return LabelScores(
            examples,
            predictions,
            np.array(
                [average_precision(*pair) for pair in zip(found.logits.T, labels.T, strict=True)]
            ),
            share(hits, predictions),
            share(hits, examples),
            share(2 * hits, examples + predictions),
        )


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Returns the sum of precisions times the gains in recall, as scikit-learn; NaN without any.

    Args:
      scores: float `[images]`; equal ones count as one threshold.
      truth: bool `[images]`.
    """
    if not truth.any():
        return np.nan
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    hits = hits[ends]
    return float((hits / (ends + 1) * np.diff(hits, prepend=0)).sum() / hits[-1])


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
