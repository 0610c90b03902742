"""Distributions over scores, such as the votes for 1 to 10 that a photo got."""

from collections.abc import Sequence

import numpy as np

# Variances nearer than this to the least or largest there is (in squares of the narrowest gap
# between scores) are taken for it: the distribution has two scores then.
_NEAR = 1e-4
_MOST_STEPS, _MOST_HALVINGS = 100, 40
_CLOSE = 1e-9  # of moments, in units of half the range of scores
_ROUNDING = 1e-15  # promises below it are no more than that


def moments(distributions: np.ndarray, scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and standard deviations, float64 `[...]`, in units of the scores.

    Args:
      distributions: `[..., scores]`, each with the sum 1.
      scores: their values.
    """
    distributions, values = np.asarray(distributions, np.float64), np.asarray(scores, np.float64)
    mean = distributions @ values
    deviations = values - mean[..., None]
    return mean, np.sqrt((distributions * deviations**2).sum(-1))


def std_bounds(mean: np.ndarray, scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the least and the largest standard deviation that a mean can have, like it.

    Args:
      mean: within the range of the scores.
      scores: increasing.
    """
    values, mean = np.asarray(scores, np.float64), np.asarray(mean, np.float64)
    above = _above(mean, values)
    least = (mean - values[above - 1]) * (values[above] - mean)
    largest = (mean - values[0]) * (values[-1] - mean)
    return np.sqrt(np.maximum(least, 0)), np.sqrt(np.maximum(largest, 0))


def from_moments(mean: np.ndarray, std: np.ndarray, scores: Sequence[float]) -> np.ndarray:
    """Returns distributions with given means and standard deviations: those of largest entropy.

    Their logarithm is a polynomial of degree two in the score, so that away from the ends of the
    scores they are a normal distribution's values. Means are met to 1e-6 of the range; deviations
    too if they lie within `std_bounds`, else the nearest that does is taken.

    Args:
      mean: float `[distributions]`, within the range of the scores.
      std: float `[distributions]`, not negative.
      scores: increasing, at least two.

    Returns:
      float64 `[distributions, scores]`.
    """
    values = np.asarray(scores, np.float64)
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    least, largest = (bound**2 for bound in std_bounds(mean, values))
    near = _NEAR * np.diff(values).min() ** 2
    above = _above(mean, values)
    narrow = std**2 < least + near
    wide = ~narrow & (std**2 > largest - near)
    between = ~(narrow | wide)
    found = np.zeros((len(mean), len(values)))
    found[narrow] = _of_two(mean[narrow], above[narrow] - 1, above[narrow], values)
    ends = np.zeros(wide.sum(), int), np.full(wide.sum(), len(values) - 1)
    found[wide] = _of_two(mean[wide], *ends, values)
    found[between] = _of_largest_entropy(mean[between], std[between], values)
    return found


def _above(mean: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Positions of the scores that means lie below, or are the last."""
    return np.clip(np.searchsorted(values, mean, side="right"), 1, len(values) - 1)


def _of_two(
    mean: np.ndarray, below: np.ndarray, above: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Distributions on two scores each, by their positions."""
    rows, found = np.arange(len(mean)), np.zeros((len(mean), len(values)))
    share = (mean - values[below]) / (values[above] - values[below])
    found[rows, above], found[rows, below] = share, 1 - share
    return found


def _of_largest_entropy(mean: np.ndarray, std: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Newton's method on the convex dual, for moments that are possible."""
    middle, half = (values[0] + values[-1]) / 2, (values[-1] - values[0]) / 2
    x, first = (values - middle) / half, (mean - middle) / half
    features = np.stack([x, x**2], -1)
    wanted = np.stack([first, first**2 + (std / half) ** 2], -1)

    def dual(slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values to be minimised, and the distributions."""
        exponents = slope @ features.T
        top = exponents.max(-1, keepdims=True)
        weights = np.exp(exponents - top)
        total = weights.sum(-1, keepdims=True)
        return (top + np.log(total))[:, 0] - (slope * wanted).sum(-1), weights / total

    slope = np.zeros_like(wanted)
    value, found = dual(slope)
    for _ in range(_MOST_STEPS):
        error = wanted - found @ features
        if np.abs(error).max(initial=0) < _CLOSE:
            break
        apart = features - (found @ features)[:, None]
        covariance = np.einsum("ns,nsi,nsj->nij", found, apart, apart) + 1e-15 * np.eye(2)
        step = np.linalg.solve(covariance, error[..., None])[..., 0]
        promised, before = (step * error).sum(-1), value
        for _ in range(_MOST_HALVINGS):
            value, found = dual(slope + step)
            worse = (value > before - 1e-4 * promised) & (promised > _ROUNDING)
            if not worse.any():
                break
            step[worse] /= 2
            promised[worse] /= 2
        slope += step
    return found
