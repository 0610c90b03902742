"""Losses of detection against formulas in float64, and where their gradients could be none."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from maxvit_jax.detection_loss import (
    binary_cross_entropy,
    focal,
    giou_loss,
    huber,
    l1,
    smooth_l1,
)
from tests.golden.arrays import load_arrays


@pytest.mark.parametrize("gamma, name", [(2.0, "gamma_2"), (1.5, "gamma_1_5")])
def test_focal_loss_is_the_stored_one(gamma, name):
    manifest, arrays = load_arrays("losses")
    labels = arrays["focal_label"]
    targets = jax.nn.one_hot(labels, arrays["focal_logits"].shape[1])
    losses = focal(arrays["focal_logits"], targets, alpha=manifest["focal"]["alpha"], gamma=gamma)
    total = losses[labels > -2].sum() / (labels >= 0).sum()  # -2 is ignored
    np.testing.assert_allclose(total, manifest["focal"][name], rtol=1e-5)


def test_distances_are_the_stored_ones():
    manifest, arrays = load_arrays("losses")
    a, b = arrays["box_a"], arrays["box_b"]
    for beta, want in manifest["smooth_l1_sum_by_beta"].items():
        np.testing.assert_allclose(smooth_l1(a, b, beta=float(beta)).sum(), want, rtol=1e-5)
    for delta, want in manifest["huber_sum_by_delta"].items():
        np.testing.assert_allclose(huber(a, b, delta=float(delta)).sum(), want, rtol=1e-5)
    np.testing.assert_allclose(l1(a, b), np.abs(a - b))


def test_giou_loss_is_the_stored_one():
    _, arrays = load_arrays("losses")
    losses = giou_loss(arrays["giou_a"], arrays["giou_b"])
    np.testing.assert_allclose(losses, 1 - arrays["giou"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_is_its_definition(target):
    logits = np.array([-20, -3, 0, 0.5, 20])
    want = target * np.log1p(np.exp(-logits)) + (1 - target) * np.log1p(np.exp(logits))
    losses = binary_cross_entropy(jnp.asarray(logits, jnp.float32), jnp.full(5, target))
    np.testing.assert_allclose(losses, want, rtol=1e-6)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, None])
def test_certain_logits_have_finite_losses_and_gradients(gamma, target):
    logits, targets = jnp.array([-1e4, -100, 0, 100, 1e4]), jnp.full(5, target)

    def loss(logits):
        if gamma is None:
            return binary_cross_entropy(logits, targets)
        return focal(logits, targets, gamma=gamma)

    losses, vjp = jax.vjp(loss, logits)
    assert np.isfinite(losses).all() and np.isfinite(vjp(jnp.ones(5))[0]).all()
    right = (logits > 0) if target else (logits < 0)
    np.testing.assert_allclose(losses[right], 0, atol=1e-6)
    assert (losses[~right] > 0.01).all()


def test_focal_loss_without_gamma_is_the_weighted_cross_entropy():
    logits, targets = jnp.linspace(-3, 3, 6), jnp.array([0.0, 1, 1, 0, 1, 0])
    want = jnp.where(targets > 0, 0.25, 0.75) * binary_cross_entropy(logits, targets)
    np.testing.assert_allclose(focal(logits, targets, gamma=0), want, rtol=1e-6)


@pytest.mark.parametrize("difference, slope", [(0, 0), (0.05, 0.45), (0.1, 0.9), (3, 1), (-3, -1)])
def test_slopes_of_distances(difference, slope):
    beta = 1 / 9
    found = jax.grad(lambda x: smooth_l1(x, jnp.zeros(()), beta=beta))(float(difference))
    assert found == pytest.approx(slope, rel=1e-5)
    found = jax.grad(lambda x: huber(x, jnp.zeros(()), delta=beta))(float(difference))
    assert found == pytest.approx(slope * beta, rel=1e-5)


def test_boxes_of_nothing_have_finite_gradients():
    empty, box = jnp.zeros(4), jnp.array([0.0, 0, 4, 4])
    for pair in ((empty, empty), (empty, box), (box, empty)):
        loss, gradient = jax.value_and_grad(giou_loss)(*pair)
        assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_bfloat16_is_computed_in_float32():
    a, b = jnp.array([[1.0, 2, 300, 400], [7, 5, 310, 500]], jnp.bfloat16)[:, None]
    exact = a.astype(jnp.float32), b.astype(jnp.float32)
    for fun in (focal, binary_cross_entropy, l1, giou_loss):
        losses = fun(a, b)
        assert losses.dtype == jnp.float32
        np.testing.assert_array_equal(losses, fun(*exact))
