"""Numbers of generation against stored ones, by definition, and where little is there."""

import numpy as np
import pytest

from common.metrics.generation import (
    GenerationEvaluator,
    class_coverage,
    frechet_distance,
    inception_score,
    precision_recall,
)
from tests.golden.cases import FOLDER


def draw(count, *, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (count, 3)).astype(np.float32)


def test_distance_and_score_are_those_stored():
    with np.load(FOLDER / "downstream" / "frechet_inception_score.npz") as file:
        found = frechet_distance(file["features_a"], file["features_b"])
        np.testing.assert_allclose(found, 46.15180147180524, rtol=1e-9)
        mean, deviation = inception_score(file["logits"], splits=3)
    np.testing.assert_allclose((mean, deviation), (3.404674350778368, 0.03952627972639405), 1e-9)


def test_distance_of_fewer_images_than_features():
    """Covariances without full rank; of a set from itself there is none but rounding."""
    few = np.random.default_rng(0).normal(size=(5, 20))
    assert abs(frechet_distance(few, few)) < 1e-6
    assert frechet_distance(few, few + 1) == pytest.approx(20)
    one = np.arange(4.0)[:, None]
    assert frechet_distance(one, one * 2) == pytest.approx(1.5**2 + one.var(ddof=1))


def test_precision_and_recall_by_definition():
    real, made = draw(60), draw(50, seed=1, shift=0.7)

    def share(reference, other):
        distances = np.linalg.norm(reference[:, None] - reference, axis=-1)
        reach = np.sort(distances, axis=1)[:, 3]  # itself comes first
        near = np.linalg.norm(other[:, None] - reference, axis=-1) <= reach
        return near.any(1).mean()

    found = precision_recall(real, made)
    assert found == pytest.approx((share(real, made), share(made, real)), abs=1e-6)
    assert 0.1 < found[0] < 1 and 0.1 < found[1] < 1
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real[:1] + 100) == (0, 0)


def test_coverage_counts_classes_that_have_half_their_due():
    real = np.eye(4)[[0] * 10 + [1] * 10 + [2] * 20]
    made = np.eye(4)[[0] * 12 + [1] * 1 + [2] * 4 + [3] * 23]
    assert class_coverage(real, made) == pytest.approx(1 / 3)  # 0: 1.2; 1: 0.1; 2: 0.2 of due
    assert class_coverage(real, real) == 1


def test_evaluator_leaves_padding_out():
    """Features are the images' pixels: the padded last one would change everything."""

    def features(images):
        flat = images.reshape(len(images), -1).astype(np.float32)
        return flat, flat[:, :4]

    rng = np.random.default_rng(0)
    real, made = (rng.integers(0, 256, (9, 2, 2, 3), np.uint8) for _ in range(2))
    values = {}
    for name, parts in {"whole": (slice(0, 9),), "parts": (slice(0, 6), slice(6, 9))}.items():
        evaluator = GenerationEvaluator(features, has_logits=True, is_inception=name == "parts")
        for part in parts:
            pad = ((0, 6 - len(real[part]) % 6), (0, 0), (0, 0), (0, 0))
            batch = [np.pad(x[part], pad) for x in (real, made)]
            mask = np.pad(np.ones(len(real[part]), np.float32), pad[0])
            images = {"image": batch[1]}, {"image": batch[0], "mask": mask}
            evaluator.update(*evaluator.condensed(*images))
        values[name] = evaluator.compute()
        assert set(values[name]) == set(evaluator.metrics)
    for name in ("frechet_distance", "precision", "recall", "class_coverage"):
        assert values["whole"][name] == pytest.approx(values["parts"][name])
    assert values["parts"]["fid"] == values["parts"]["frechet_distance"]
    assert "fid" not in values["whole"] and "classifier_score" in values["whole"]
