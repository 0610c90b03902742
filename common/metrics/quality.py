"""How well distributions over scores are predicted: correlations, earth mover's distance."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.data.score_distributions import moments
from common.errors import UserError
from common.metrics.evaluator import Evaluator


class Judged(NamedTuple):
    """Images with their scores.

    Attributes:
      positions: integers `[images]`: in the source.
      predicted: float `[images, scores]`.
      true: the same.
    """

    positions: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


class QualityEvaluator(Evaluator):
    """Keeps all distributions on the host: correlations are of the whole set.

    `plcc` and `srcc` are Pearson's and Spearman's correlation of predicted and true means,
    `plcc_std` and `srcc_std` those of standard deviations; `emd` is the mean over images of the
    earth mover's distance at r = 1 (see `earth_movers_distances`); `accuracy` is the share of
    images whose predicted and true mean are on one side of the threshold.

    Args:
      scores: values of the distributions' entries.
      threshold: means above it are good.
    """

    metrics = ("plcc", "srcc", "plcc_std", "srcc_std", "emd", "accuracy", "examples")
    outputs = ("distribution",)
    inputs = ("distribution", "position")

    def __init__(self, scores: Sequence[float], threshold: float):
        self._scores, self._threshold = scores, threshold
        self._seen: list[Judged] = []

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `distribution`, float `[batch, scores]`.
          batch: the same, and `position`, int `[batch]`; `mask` `[batch]`, 0 for padding.

        Raises:
          UserError: predictions that are not finite.
        """
        real = batch["mask"].astype(bool)
        predicted = outputs["distribution"][real]
        if not np.isfinite(predicted).all():
            raise UserError("the predictions are not finite: these weights can't be evaluated")
        judged = Judged(batch["position"][real], predicted, batch["distribution"][real])
        self._seen.append(judged)

    @property
    def judged(self) -> "Judged":
        """All images seen."""
        return Judged(*map(np.concatenate, zip(*self._seen, strict=True)))

    def compute(self) -> dict[str, float]:
        """Returns the metrics; a correlation with something constant is 0: see `correlation`.

        Raises:
          UserError: nothing was counted.
        """
        if not any(len(judged.positions) for judged in self._seen):
            raise UserError("no example was evaluated: the data set is empty or unreadable")
        _, predicted, true = self.judged
        mean, std = moments(predicted, self._scores)
        true_mean, true_std = moments(true, self._scores)
        good = (mean > self._threshold) == (true_mean > self._threshold)
        means, stds = self._compared(mean, true_mean), self._compared(std, true_std)
        return {
            "plcc": correlation(*means),
            "srcc": correlation(*map(ranks, means)),
            "plcc_std": correlation(*stds),
            "srcc_std": correlation(*map(ranks, stds)),
            "emd": float(earth_movers_distances(predicted, true).mean()),
            "accuracy": float(good.mean()),
            "examples": len(mean),
        }

    def _compared(self, *values: np.ndarray) -> list[np.ndarray]:
        """In units of the scores' range, without the digits that float32 has by chance: they would
        rank what is equal."""
        return [np.round(v / (self._scores[-1] - self._scores[0]), 6) for v in values]


def earth_movers_distances(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns the mean absolute difference of cumulative distributions, r = 1, `[...]`.

    Args:
      predicted: `[..., scores]`, each with the sum 1.
      true: the same.
    """
    return np.abs(np.cumsum(predicted - true, -1)).mean(-1)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Returns Pearson's correlation, in -1..1; 0 where one is constant, which agrees with nothing.

    Args:
      a: `[values]`.
      b: the same.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def ranks(values: np.ndarray) -> np.ndarray:
    """Returns the rank of every value `[values]`, from 1; equal ones share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]
