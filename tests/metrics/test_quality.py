"""Metrics and loss of quality assessment against formulas in float64 and SciPy's correlations."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.metrics.quality import QualityEvaluator, correlation, earth_movers_distances, ranks
from maxvit_jax.quality_loss import earth_movers_distance
from tests.golden.arrays import load_arrays

SCORES = tuple(map(float, range(1, 11)))


def golden():
    expected, arrays = load_arrays("aesthetics")
    votes = arrays["votes"].astype(np.float64)
    return expected, arrays, votes / votes.sum(-1, keepdims=True)


def evaluated(predicted, true, parts=1, threshold=5.0):
    """Of several batches, each with a row of padding."""
    evaluator = QualityEvaluator(SCORES, threshold)
    for rows in np.array_split(np.arange(len(true)), parts):
        padded = np.append(rows, rows[0])
        batch = {"distribution": true[padded], "position": padded}
        batch["mask"] = np.append(np.ones(len(rows), np.float32), 0)
        outputs = predicted[padded]
        outputs[-1] = np.nan  # nobody looks at padding
        evaluator.update({"distribution": outputs}, batch)
    return evaluator


def test_metrics_are_the_stored_ones():
    expected, arrays, true = golden()
    predicted = np.asarray(jax.nn.softmax(arrays["logits"]))
    found = evaluated(predicted, true, parts=3).compute()
    names = {"plcc": "plcc_mean", "srcc": "srcc_mean", "plcc_std": "plcc_std"}
    names |= {"srcc_std": "srcc_std", "emd": "mean_emd_r1", "accuracy": "accuracy_threshold_5"}
    for ours, theirs in names.items():
        assert found[ours] == pytest.approx(expected[theirs], rel=1e-5), ours
    assert found["examples"] == 64
    np.testing.assert_allclose(earth_movers_distances(predicted, true), arrays["emd_r1"], rtol=1e-5)


def test_equal_values_share_their_ranks():
    expected = golden()[0]["srcc_with_ties"]
    a, b = (ranks(np.array(expected[name])) for name in "ab")
    assert correlation(a, b) == pytest.approx(expected["srcc"], rel=1e-12)
    np.testing.assert_array_equal(ranks(np.array([3.0, 1, 3, 2])), [3.5, 1, 3.5, 2])


def test_the_loss_and_its_gradient_are_the_stored_ones():
    expected, arrays, true = golden()
    true = jnp.asarray(true, jnp.float32)

    @jax.jit
    def run(logits):
        def loss(logits):
            predicted = jax.nn.softmax(logits)
            distances = {r: earth_movers_distance(predicted, true, r) for r in (1, 2)}
            return distances[2].mean(), distances

        return jax.value_and_grad(loss, has_aux=True)(logits)

    (loss, distances), gradient = run(arrays["logits"])
    assert loss == pytest.approx(expected["mean_emd_r2"], rel=1e-5)
    for r in (1, 2):
        np.testing.assert_allclose(distances[r], arrays[f"emd_r{r}"], rtol=1e-5)
    reference = arrays["grad_mean_emd_r2_wrt_logits"]
    np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize("r", [1, 2])
def test_at_distance_zero_loss_and_gradient_are_zero(r):
    same = jnp.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    run = jax.jit(jax.value_and_grad(lambda x: earth_movers_distance(x, same, r).mean()))
    loss, gradient = run(same)
    assert loss == 0 and not np.any(gradient)


def test_whatever_is_constant_correlates_with_nothing():
    """Also where float32 has it a little different by chance."""
    _, _, true = golden()
    constant = np.tile(
        np.float32([0.05, 0.1, 0.15, 0.2, 0.3, 0.1, 0.05, 0.03, 0.01, 0.01]), (64, 1)
    )
    constant[::3, 4] = np.nextafter(constant[::3, 4], np.float32(1))
    found = evaluated(constant, true).compute()
    assert [found[name] for name in ("plcc", "srcc", "plcc_std", "srcc_std")] == [0] * 4
    assert all(np.isfinite(value) for value in found.values())


def test_the_threshold_decides_what_is_good():
    true = np.eye(10)[[2, 4, 5, 8]]  # means 3, 5, 6, 9
    predicted = np.eye(10)[[4, 5, 6, 7]]  # 5, 6, 7, 8
    assert evaluated(predicted, true).compute()["accuracy"] == 0.75
    assert evaluated(predicted, true, threshold=6.0).compute()["accuracy"] == 0.75
    assert evaluated(predicted, true, threshold=2.0).compute()["accuracy"] == 1


def test_nothing_and_no_numbers_are_said():
    with pytest.raises(UserError, match="no example was evaluated"):
        QualityEvaluator(SCORES, 5.0).compute()
    evaluator = QualityEvaluator(SCORES, 5.0)
    batch = {"distribution": np.eye(10)[:1], "position": np.arange(1), "mask": np.ones(1)}
    with pytest.raises(UserError, match="not finite"):
        evaluator.update({"distribution": np.full((1, 10), np.nan)}, batch)
