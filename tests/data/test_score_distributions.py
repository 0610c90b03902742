"""Distributions over scores: their moments, and those that are made of moments."""

import numpy as np
import pytest

from common.data.score_distributions import from_moments, moments, std_bounds

TEN = tuple(map(float, range(1, 11)))


def test_moments_are_of_the_scores_values():
    mean, std = moments(np.array([[0.5, 0, 0.5], [0, 1, 0]]), (1.0, 2.0, 5.0))
    np.testing.assert_allclose(mean, [3, 2])
    np.testing.assert_allclose(std, [2, 0])


def test_bounds_are_those_of_two_neighbours_and_of_both_ends():
    least, largest = std_bounds(np.array([1.0, 1.5, 3.0, 10.0]), TEN)
    np.testing.assert_allclose(least, [0, 0.5, 0, 0])
    np.testing.assert_allclose(largest, [0, 4.25**0.5, 14**0.5, 0])


@pytest.mark.parametrize("scores", [(1, 2), (1, 2, 3), (0, 1, 5), TEN, tuple(range(0, 101, 5))])
def test_moments_are_met_wherever_a_distribution_has_them(scores):
    """From the least deviation to the largest, at the ends of the scores too."""
    inside = np.linspace(scores[0], scores[-1], 23)
    mean, share = np.meshgrid([*inside, scores[0] + 1e-4, scores[-1] - 1e-6], np.linspace(0, 1, 9))
    mean, share = mean.ravel(), share.ravel()
    least, largest = std_bounds(mean, scores)
    std = least + share * (largest - least)
    found = from_moments(mean, std, scores)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(-1), 1)
    found_mean, found_std = moments(found, scores)
    span = scores[-1] - scores[0]
    np.testing.assert_allclose(found_mean, mean, atol=1e-6 * span)
    np.testing.assert_allclose(found_std, std, atol=0.02 * np.diff(scores).min())


def test_a_deviation_that_no_distribution_has_becomes_the_nearest():
    mean, std = np.array([5.5, 1.0, 9.5]), np.array([0.1, 2.0, 9.0])
    found_mean, found_std = moments(from_moments(mean, std, TEN), TEN)
    np.testing.assert_allclose(found_mean, mean)
    np.testing.assert_allclose(found_std, [0.5, 0, 4.25**0.5])


def test_away_from_the_ends_it_is_a_normal_distributions_values():
    (found,) = from_moments(np.array([5.2]), np.array([1.1]), TEN)
    expected = np.exp(-(((np.array(TEN) - 5.2) / 1.1) ** 2) / 2)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-4)


def test_none_is_made_of_none():
    assert from_moments(np.zeros(0), np.zeros(0), TEN).shape == (0, 10)
