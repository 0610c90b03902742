import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.mix import mix
from common.train.sharding import MeshConfig, batch_sharding, make_mesh

BATCH, CLASSES = 6, 6
LABELS = jnp.eye(CLASSES)[:BATCH]
# Image i is filled with the value i + 1, so that pixels tell where they come from.
IMAGES = jnp.broadcast_to(jnp.arange(1.0, BATCH + 1)[:, None, None, None], (BATCH, 20, 30, 3))
PARTNER = np.arange(BATCH)[::-1]


@functools.partial(jax.jit, static_argnums=(3, 4))
def jitted(rng, images, labels, mixup_alpha, cutmix_alpha):
    return mix(rng, images, labels, mixup_alpha, cutmix_alpha)


def own_share(images):
    """The share of each image's own pixels, from the pixels."""
    own, other = np.arange(1, BATCH + 1), PARTNER + 1
    return (np.asarray(images).mean((1, 2, 3)) - other) / (own - other)


def test_off():
    images, labels = mix(jax.random.key(0), IMAGES, LABELS)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_labels_follow_pixels(alphas):
    for step in range(10):
        images, labels = jitted(jax.random.key(step), IMAGES, LABELS, *alphas)
        share = own_share(images)
        expected = share[:, None] * np.eye(CLASSES) + (1 - share[:, None]) * np.eye(CLASSES)[::-1]
        np.testing.assert_allclose(labels, expected, atol=1e-5)
        np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
        assert len(set(np.round(share, 4))) > 1  # one draw per example


def test_mixup_averages_whole_images():
    images, _ = jitted(jax.random.key(1), IMAGES, LABELS, 0.8, 0.0)
    np.testing.assert_allclose(images, np.broadcast_to(images[:, :1, :1, :1], IMAGES.shape))


def test_mixup_share_is_beta_distributed():
    images = jnp.broadcast_to(jnp.arange(4000.0)[:, None, None, None], (4000, 1, 1, 1))
    labels = jnp.eye(2)[(jnp.arange(4000) < 2000).astype(int)]
    _, mixed = jitted(jax.random.key(0), images, labels, 0.8, 0.0)
    share = np.where(np.arange(4000) < 2000, mixed[:, 1], mixed[:, 0])
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.05)


def test_cutmix_pastes_one_box_of_the_partner():
    shares = []
    for step in range(30):
        images, labels = jitted(jax.random.key(step), IMAGES, LABELS, 0.0, 1.0)
        for i, image in enumerate(np.asarray(images)[..., 0]):
            assert set(np.unique(image)) <= {i + 1.0, PARTNER[i] + 1.0}
            foreign = image == PARTNER[i] + 1
            rows, columns = foreign.any(1), foreign.any(0)
            np.testing.assert_array_equal(foreign, rows[:, None] & columns)
            assert np.abs(np.diff(rows.astype(int))).sum() <= 2  # contiguous
            assert float(labels[i, i]) == pytest.approx(1 - foreign.mean(), abs=1e-6)
            shares.append(1 - foreign.mean())
    assert min(shares) < 0.3 and max(shares) > 0.95


def test_one_method_per_batch_when_both_are_on():
    kinds = []
    for step in range(60):
        images, _ = jitted(jax.random.key(step), IMAGES, LABELS, 0.8, 1.0)
        kinds.append(np.isin(np.asarray(images), np.arange(1, BATCH + 1)).all())
    assert 18 < sum(kinds) < 42


def test_types_and_odd_batches():
    images, labels = jitted(
        jax.random.key(0), IMAGES[:5].astype(jnp.bfloat16), LABELS[:5], 0.8, 0.0
    )
    assert images.dtype == jnp.bfloat16 and labels.dtype == jnp.float32
    np.testing.assert_allclose(images[2].astype(jnp.float32), 3, rtol=1e-2)  # mixed with itself
    images, _ = jitted(jax.random.key(0), IMAGES.astype(jnp.uint8), LABELS, 0.8, 0.0)
    assert images.dtype == jnp.float32


def test_is_a_function_of_the_key():
    first, second, other = (
        jitted(jax.random.key(seed), IMAGES, LABELS, 0.8, 1.0)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def normalized(images, labels):
    return (jnp.asarray(images, jnp.float32) - 110) / 57, jax.nn.one_hot(labels, 1000)


def test_partners_move_between_devices_as_they_came():
    """Images as bytes and labels as numbers; the result is that of mixing what was prepared."""
    split = batch_sharding(make_mesh(MeshConfig()))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 8, 8, 3), np.uint8)
    labels = rng.integers(0, 1000, 16, np.int32)

    def mixed(key, images, labels):
        return mix(key, images, labels, 0.0, 1.0, normalized)

    key = jax.random.key(0)
    program = jax.jit(mixed, in_shardings=(None, split, split), out_shardings=split)
    program = program.lower(key, images, labels).compile()
    moved = re.findall(r"= (\w+)\[([\d,]+)\]\S* collective-permute", program.as_text())
    assert sorted(moved) == [("s32", "2"), ("u8", "2,8,8,3")]
    before = mix(key, *normalized(images, labels), 0.0, 1.0)
    for found, expected in zip(program(key, images, labels), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
