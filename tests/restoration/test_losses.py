"""Losses against plain NumPy, and gradients where they could break."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maxim_jax.losses import charbonnier_loss, frequency_loss, multi_stage_loss


def images(seed, *shape):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def halved(image):
    """Bilinear, antialiased: two neighbours count 3/8, the next two 1/8, at the border 3, 3, 1."""
    for axis in (1, 2):
        rows = np.moveaxis(image.astype(np.float64), axis, 0)
        taps = np.stack([rows[0::2], rows[1::2]])
        outer = np.stack([np.roll(rows[1::2], 1, 0), np.roll(rows[0::2], -1, 0)])
        weights = np.full((2, len(rows) // 2), 1.0)
        weights[0, 0] = weights[1, -1] = 0  # nothing lies beyond the border
        weights = weights.reshape(weights.shape + (1,) * (rows.ndim - 1))
        total = (3 * taps + weights * outer).sum(0) / (6 + weights.sum(0))
        image = np.moveaxis(total, 0, axis)
    return image


def test_charbonnier():
    restored, target = images(0, 2, 5, 7, 3), images(1, 2, 5, 7, 3)
    difference = restored.astype(np.float64) - target
    for eps in (1e-3, 0.5):
        expected = np.mean(np.sqrt(difference**2 + eps**2))
        np.testing.assert_allclose(charbonnier_loss(restored, target, eps), expected, rtol=1e-5)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_frequency(norm):
    """Modulus of the complex difference, over height and width only, for sides that differ."""
    restored, target = images(0, 2, 12, 20, 3), images(1, 2, 12, 20, 3)
    difference = restored.astype(np.float64) - target
    expected = np.mean(np.abs(np.fft.fft2(difference, axes=(1, 2), norm=norm)))
    np.testing.assert_allclose(frequency_loss(restored, target, norm), expected, rtol=1e-5)


def test_a_constant_error_lies_in_one_frequency():
    target = images(0, 1, 8, 8, 1)
    np.testing.assert_allclose(frequency_loss(target + 0.25, target), 0.25, rtol=1e-5)
    np.testing.assert_allclose(frequency_loss(target + 0.25, target, "ortho"), 0.25 / 8, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_sum_over_stages_and_scales(weight):
    target = images(0, 2, 16, 8, 3)
    outputs = [[images(1, 2, 16, 8, 3), images(2, 2, 8, 4, 3)] for _ in range(2)]
    outputs[1] = [image * 0.5 for image in outputs[1]]
    expected = 0.0
    for scales in outputs:
        for restored, resized in zip(scales, (target, halved(target)), strict=True):
            difference = restored.astype(np.float64) - resized
            expected += np.mean(np.sqrt(difference**2 + 0.01**2))
            spectrum = np.fft.fft2(difference, axes=(1, 2), norm="ortho")
            expected += weight * np.mean(np.abs(spectrum))
    loss = multi_stage_loss(
        outputs, target, eps=0.01, frequency_weight=weight, frequency_norm="ortho"
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradient_is_finite_and_zero_where_nothing_differs():
    """The modulus of a complex number has no slope at zero: a square root's would be NaN there."""
    target = images(0, 1, 8, 8, 3)
    gradient = jax.grad(lambda x: multi_stage_loss([[x]], target))(target)
    np.testing.assert_array_equal(gradient, 0)
    flat = target.copy()
    flat[:, :, 4:] = flat[:, :, :4] + 0.1  # differs, but not in every frequency
    gradient = jax.grad(lambda x: multi_stage_loss([[x]], flat))(target)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_gradient():
    """Along a direction, against a difference quotient."""
    restored, target, direction = (images(i, 1, 8, 8, 3) - 0.5 for i in range(3))
    slope = jax.grad(lambda x: multi_stage_loss([[x]], target, eps=0.1))(restored)

    def loss(step):
        return multi_stage_loss([[restored + step * direction]], target, eps=0.1)

    quotient = (loss(1e-2) - loss(-1e-2)) / 2e-2
    np.testing.assert_allclose(np.sum(slope * direction), quotient, rtol=2e-3)


def test_a_sharded_batch_stays_where_it_is():
    """XLA's own FFT gathers it: each device would transform the global batch."""
    mesh = Mesh(jax.devices()[:4], ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    batch = jax.ShapeDtypeStruct((8, 16, 16, 3), np.float32)
    step = jax.jit(jax.value_and_grad(frequency_loss), in_shardings=split)
    program = step.lower(batch, batch).compile().as_text()
    assert "all-reduce" in program and "all-gather" not in program
