"""How much made images are like real ones, by features that a network has of both.

Which network that is decides what a number means; none of these is an FID unless it is the
Inception network of FID's authors. Means and covariances are float64.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.metrics.evaluator import Evaluator

Features = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]

SPLITS = 10  # of the inception score, as published ones
NEIGHBOURS = 3  # of precision and recall
_ROWS = 1024  # of distances at once
_COVERED = 0.5  # share of a class's due that counts as covered


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Fréchet distance of two Gaussians with the features' means and covariances
    (arXiv:1706.08500, section 3), in float64; covariances are unbiased.

    The trace of the root of both covariances' product is the sum of the roots of its eigenvalues,
    which a symmetric matrix has too.

    Args:
      first: `[images, features]`, two at least.
      second: likewise of as many features.
    """
    means, covariances = zip(*map(_moments, (first, second)), strict=True)
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ covariances[1] @ root)
    trace = sum(map(np.trace, covariances)) - 2 * np.sqrt(np.maximum(shared, 0)).sum()
    return float(np.square(means[0] - means[1]).sum() + trace)


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """Returns mean and standard deviation over splits of the inception score (arXiv:1606.03498,
    section 4): the exponential of the mean divergence of an image's classes from all images'.

    Args:
      logits: `[images, classes]`.
      splits: parts in the order of the images; of fewer images than that, one each.
    """
    logits = np.asarray(logits, np.float64)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    scores = []
    for part in np.array_split(logs, min(splits, len(logs))):
        mean = np.logaddexp.reduce(part, axis=0) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - mean)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(
    real: np.ndarray, made: np.ndarray, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Returns improved precision and recall (arXiv:1904.06991, section 2).

    Precision is the share of made images that are within the reach of a real one, recall that of
    real ones within the reach of a made one: no farther than its own k-th nearest neighbour.

    Args:
      real: `[images, features]`.
      made: likewise.
      neighbours: k; of as few images all others count.
    """
    real, made = (jnp.asarray(x, jnp.float32) for x in (real, made))
    return _covered(real, made, neighbours), _covered(made, real, neighbours)


def class_coverage(real: np.ndarray, made: np.ndarray) -> float:
    """Returns the share of classes that made images don't neglect.

    Those are the classes with half as many made images as real ones, as a share of all, or more.

    Args:
      real: logits `[images, classes]`; classes that no image is taken for don't count.
      made: likewise.
    """
    shares = [np.bincount(x.argmax(1), minlength=x.shape[1]) / len(x) for x in (real, made)]
    there = shares[0] > 0
    return float((shares[1][there] >= _COVERED * shares[0][there]).mean())


class GenerationEvaluator(Evaluator):
    """Fréchet distance, precision and recall; with logits the inception score and class coverage.

    It holds features, and no image.

    Args:
      features: from uint8 images `[batch, height, width, channels]` to features `[batch, n]` and
        logits `[batch, classes]`, or None for a network that has none.
      has_logits: it gives logits.
      is_inception: it is the network of FID's authors, so that numbers have their names.
    """

    outputs = ("image",)
    inputs = ("image",)

    def __init__(self, features: Features, *, has_logits: bool, is_inception: bool):
        self._features, self._is_inception = features, is_inception
        self._score = "inception_score" if is_inception else "classifier_score"
        self._found: tuple[list, list] = ([], [])  # of real and of made images
        names = ["frechet_distance", "precision", "recall"]
        names += ["fid"] * is_inception
        names += [self._score, f"{self._score}_std", "class_coverage"] if has_logits else []
        self.metrics = tuple(names)

    def condensed(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Evaluator`: images are their features."""
        images = {"real": batch["image"], "made": outputs["image"]}
        found = {name: self._features(each) for name, each in images.items()}
        return found, {"mask": batch["mask"]}

    def update(self, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        """See `Evaluator`; takes what `condensed` returns."""
        real = batch["mask"].astype(bool)
        for name, found in zip(("real", "made"), self._found, strict=True):
            features, logits = outputs[name]
            found.append((features[real], None if logits is None else logits[real]))

    def compute(self) -> dict[str, float]:
        """See `Evaluator`."""
        real, made = (np.concatenate([f for f, _ in found]) for found in self._found)
        require(len(real) > 1, f"{len(real)} image(s) have no covariance: compare with more")
        distance = frechet_distance(real, made)
        precision, recall = precision_recall(real, made)
        values = {"frechet_distance": distance, "precision": precision, "recall": recall}
        if self._is_inception:
            values["fid"] = distance
        if self._score in self.metrics:
            real, made = (np.concatenate([logits for _, logits in found]) for found in self._found)
            values[self._score], values[f"{self._score}_std"] = inception_score(made)
            values["class_coverage"] = class_coverage(real, made)
        return values


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, np.float64)
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def _covered(reference: Array, other: Array, neighbours: int) -> float:
    """The share of `other` that is within the reach of some of `reference`."""
    k = min(neighbours, len(reference) - 1)
    reach = [_kth(rows, reference, k) for rows in _parts(reference)]
    reach = jnp.concatenate(reach)
    covered = sum(int(_count_within(rows, reference, reach)) for rows in _parts(other))
    return covered / len(other)


def _parts(x: Array) -> list[Array]:
    return [x[start : start + _ROWS] for start in range(0, len(x), _ROWS)]


@partial(jax.jit, static_argnums=2)
def _kth(rows: Array, reference: Array, k: int) -> Array:
    """Squared distance to the k-th nearest of the others; rows are of the reference, so 0 first."""
    return -jax.lax.top_k(-_distances(rows, reference), k + 1)[0][:, -1]


@jax.jit
def _count_within(rows: Array, reference: Array, reach: Array) -> Array:
    return (_distances(rows, reference) <= reach).any(1).sum()


def _distances(rows: Array, reference: Array) -> Array:
    """Squared distances, `[rows, reference]`."""
    product = jnp.matmul(rows, reference.T, precision=jax.lax.Precision.HIGHEST)
    squares = [jnp.square(x).sum(1) for x in (rows, reference)]
    return jnp.maximum(squares[0][:, None] + squares[1] - 2 * product, 0)
