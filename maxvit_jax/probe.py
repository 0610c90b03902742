"""How good frozen features are: a linear classifier on them, and their nearest neighbours."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.config import require
from common.data.sources import stratified_split
from maxvit_jax.embeddings import Embeddings

STRENGTHS = tuple(10.0**power for power in range(-4, 4))
_HELD_OUT = 0.2  # of the training images, to choose the strength by
_ITERATIONS = 1000
_PRODUCTS = 1 << 25  # similarities at once


class LinearProbe(NamedTuple):
    """What a linear classifier reaches.

    Attributes:
      accuracy: share of the evaluation images in 0..1.
      c: inverse strength of the L2 penalty that was chosen.
      held_out: accuracy on the held-out training images by `c`.
      converged: the last fit ended by itself.
    """

    accuracy: float
    c: float
    held_out: dict[float, float]
    converged: bool


def linear_probe(
    train: Embeddings, evaluation: Embeddings, strengths: Sequence[float] = STRENGTHS
) -> LinearProbe:
    """Fits a logistic regression to standardised training vectors.

    The strength is the one that does best on a fifth of the training images, of equally good ones
    the smallest; with it all of them are fitted again. The evaluation images choose nothing.

    Args:
      train: vectors to fit.
      evaluation: vectors to measure on.
      strengths: values of C to try.

    Raises:
      UserError: less than two classes, or nothing to hold out.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    several = len(np.unique(train.labels)) > 1
    require(several, "a linear probe needs two classes, the training images are of one")
    fitted, held = stratified_split(train.labels, _HELD_OUT)
    require(len(held) > 0, "a linear probe needs two training images of a class or more")
    mean, std = train.vectors.mean(0), train.vectors.std(0)
    std = np.where(std > 0, std, 1)
    x, y = (train.vectors - mean) / std, train.labels

    def fit(rows: np.ndarray | slice, c: float) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says it
            return LogisticRegression(C=c, max_iter=_ITERATIONS).fit(x[rows], y[rows])

    scores = {c: float(fit(fitted, c).score(x[held], y[held])) for c in sorted(strengths)}
    best = max(scores, key=scores.get)
    last = fit(slice(None), best)
    accuracy = last.score((evaluation.vectors - mean) / std, evaluation.labels)
    return LinearProbe(float(accuracy), best, scores, bool(last.n_iter_.max() < _ITERATIONS))


def neighbour_accuracy(
    train: Embeddings, evaluation: Embeddings, k: int = 20, temperature: float = 0.07
) -> float:
    """Classifies by the nearest training images (DINO, https://arxiv.org/abs/2104.14294).

    Each of the `k` with the largest cosine similarity votes for its class with weight
    `exp(similarity / temperature)`.

    Args:
      train: vectors of those that vote.
      evaluation: vectors to measure on.
      k: voters; all where there are fewer.
      temperature: of the weights.

    Returns:
      Share of the evaluation images in 0..1 whose class wins.

    Raises:
      UserError: `k` or the temperature is not positive.
    """
    require(k > 0 and temperature > 0, f"{k=}, {temperature=}: both must be positive")
    voters, others = _unit(train.vectors), _unit(evaluation.vectors)
    k, classes = min(k, len(voters)), int(train.labels.max()) + 1
    step, right = max(1, _PRODUCTS // len(voters)), 0
    for start in range(0, len(others), step):
        similarity = others[start : start + step] @ voters.T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        similarity = np.take_along_axis(similarity, nearest, 1).astype(np.float64)
        rows, votes = np.arange(len(nearest))[:, None], np.zeros((len(nearest), classes))
        np.add.at(votes, (rows, train.labels[nearest]), np.exp(similarity / temperature))
        right += int((votes.argmax(1) == evaluation.labels[start : start + step]).sum())
    return right / len(others)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)
