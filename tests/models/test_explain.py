"""Grad-CAM, receptive fields and attention, against what they are by definition.

The golden outputs of Grad-CAM are among those of `test_metaformer`.
"""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from maxvit_jax.attention_maps import attentions, rollout
from maxvit_jax.explain import grad_cam, receptive_field
from maxvit_jax.models.aewin import AEWin
from maxvit_jax.models.maxvit import MaxViT
from maxvit_jax.models.metaformer import MetaFormer
from maxvit_jax.models.moat import MOAT
from tests.golden.weights import make_image, make_variables

MAXVIT = MaxViT((4, 8), (32, 64), (1, 1), num_classes=5, window_size=2)
IMAGES = make_image((2, 16, 32, 3))


@functools.cache
def variables():
    return make_variables(MAXVIT, IMAGES)


def test_grad_cam_of_an_earlier_stage():
    """Of the predicted class, the rest of the network by hand. Golden ones are of named classes."""

    @jax.jit
    def by_hand(variables, images):
        def rest(model, x):
            return model.classify(model.blocks[1](x, False), False)

        x = MAXVIT.apply(variables, images, method="features", until="stage_1")["stage_1"]
        logits, pull = jax.vjp(lambda x: MAXVIT.apply(variables, x, method=rest), x)
        (gradient,) = pull(jax.nn.one_hot(logits.argmax(-1), 5))
        return jnp.maximum(jnp.einsum("bc,bhwc->bhw", gradient.mean((1, 2)), x), 0)

    found = grad_cam(MAXVIT.clone(remat=True), variables(), IMAGES, stage="stage_1")
    assert found.shape == (2, 4, 8) and found.any() and not found.all()
    np.testing.assert_allclose(found, by_hand(variables(), IMAGES), rtol=1e-4, atol=1e-6)


def test_receptive_field_of_convolutions_is_known():
    """Without mixers a position sees the 7 x 7 pixels of the stem's filter, and no others."""
    model = MetaFormer((8,), (1,), ("identity",), num_classes=0)
    made = make_variables(model, IMAGES)
    field = np.asarray(receptive_field(model, made, IMAGES, (9, 13)))
    assert field.shape == (2, 16, 32)
    rows, columns = (np.flatnonzero(field[0].any(axis)) for axis in (1, 0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 12, 10, 16)
    assert (field[:, 6:13, 10:17] > 0).all()
    center = receptive_field(model, made, IMAGES)
    np.testing.assert_array_equal(center, receptive_field(model, made, IMAGES, (8, 16)))


def test_attention_is_within_windows_and_grids():
    found = attentions(MAXVIT, variables(), IMAGES, "stage_1")
    names = [attention.name for attention in found]
    assert names == ["stage_1_block_0/window", "stage_1_block_0/grid"]
    window, grid = (np.asarray(attention.shares((9, 13)))[0] for attention in found)
    assert window.shape == grid.shape == (1, 4, 8)  # of 32 channels there is one head
    # Row 2 and column 3 of the map: the window of rows 2, 3 and columns 2, 3; rows 0, 2 and columns
    # 3, 7 of the grid.
    for shares, rows, columns in ((window, (2, 3), (2, 3)), (grid, (0, 2), (3, 7))):
        seen = {(int(r), int(c)) for r, c in zip(*np.nonzero(shares[0]), strict=True)}
        assert seen == {(r, c) for r in rows for c in columns}
        assert shares.sum() == pytest.approx(1, rel=1e-5)


def matrix(attention, size):
    """Mean over heads as one matrix over all positions of the first image."""
    positions = size[0] * size[1]
    rows = [attention.shares((4 * y, 4 * x))[0].mean(0) for y, x in np.ndindex(*size)]
    return np.asarray(rows).reshape(positions, positions)


def test_rollout_is_the_product_of_matrices():
    found, size = attentions(MAXVIT, variables(), IMAGES, "stage_1"), (4, 8)
    product = np.eye(32)
    for attention in found:
        product = (matrix(attention, size) + np.eye(32)) / 2 @ product
    one = np.asarray(rollout(found, (9, 13)))[0]
    np.testing.assert_allclose(one.ravel(), product[2 * 8 + 3], rtol=1e-4, atol=1e-6)
    every = np.asarray(rollout(found))[0]
    np.testing.assert_allclose(every.ravel(), product.mean(0), rtol=1e-4, atol=1e-6)
    mean = np.asarray(found[0].shares())[0, 0]
    np.testing.assert_allclose(mean.ravel(), matrix(found[0], size).mean(0), rtol=1e-4, atol=1e-6)


def test_padding_is_not_attended_to():
    """A map of 3 x 5 in windows of 2, at the second stage; every share is of a real position."""
    model = MAXVIT.clone(pad_inputs=True)
    found = attentions(model, variables(), IMAGES[:, :, :20])
    assert found[0].map_size == (2, 3) and found[0].weights.shape == (2, 2, 2, 4, 4)
    for attention in found:
        np.testing.assert_allclose(attention.shares().sum((2, 3)), 1, rtol=1e-5)
        np.testing.assert_allclose(attention.shares((15, 19)).sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(rollout(found).sum((1, 2)), 1, rtol=1e-5)


FIELDS = {"num_classes": 0, "head_dim": 4}
AEWIN = AEWin((8, 16), (1, 1), (4, 4), num_classes=0)
OTHERS = {
    "moat": MOAT(
        (4, 8),
        (8, 16),
        (1, 2),
        ("mbconv", "moat"),
        window_size=(None, 2),
        bias_window_size=(None, 2),
        global_attention_at_end=True,
        **FIELDS,
    ),
    "global": MetaFormer((8, 16), (1, 1), ("pool", "attention"), **FIELDS),
    "grid": MetaFormer((8, 16), (1, 1), ("pool", "grid_attention"), window_size=2, **FIELDS),
}


@pytest.mark.parametrize(("name", "seen"), [("moat", [4, 8]), ("global", [6]), ("grid", [4])])
def test_other_families(name, seen):
    """How many positions of a map of 2 x 3 (of 2 x 4, where windows are 2) a query sees."""
    model, width = OTHERS[name], 24 if name == "global" else 32
    images = make_image((1, 16, width, 3))
    found = attentions(model, make_variables(model, images), images)
    counts = [np.count_nonzero(attention.shares((0, 0))[0, 0]) for attention in found]
    assert counts == seen
    with pytest.raises(UserError, match=r"stage_1 has no attention .*; try stage_2"):
        attentions(model, {}, images, "stage_1")


@pytest.mark.parametrize("model", [*OTHERS.values(), AEWIN], ids=[*OTHERS, "aewin"])
def test_every_family_has_grad_cam(model):
    """Of each stage, at the size of its map; nothing is compiled."""
    model, images = model.clone(num_classes=3), jax.ShapeDtypeStruct((1, 16, 32, 3), jnp.float32)
    made = jax.eval_shape(model.init, jax.random.key(0), images)
    for stage, size in (("stage_1", (4, 8)), ("stage_2", (2, 4))):
        shape = jax.eval_shape(functools.partial(grad_cam, model, stage=stage), made, images).shape
        assert shape == (1, *size)


def test_mistakes():
    look = functools.partial(grad_cam, MAXVIT, variables(), IMAGES)
    with pytest.raises(UserError, match=r"classes=\[0 5\]: there are 0 to 4"):
        look([0, 5])
    with pytest.raises(UserError, match=r"classes of shape \[1\]: one for each of 2 images"):
        look([0])
    with pytest.raises(UserError, match="stage='stage_3': did you mean 'stage_"):
        look(stage="stage_3")
    with pytest.raises(UserError, match="no classifier to explain"):
        grad_cam(OTHERS["grid"], {}, IMAGES)
    with pytest.raises(UserError, match=r"pixel=\(16, 0\): rows are 0 to 15, columns 0 to 31"):
        receptive_field(MAXVIT, variables(), IMAGES, (16, 0))
    with pytest.raises(UserError, match=r"stage_2 has no attention .*; nor has any other stage"):
        attentions(AEWIN, {}, IMAGES)
    with pytest.raises(UserError, match="image width 20 does not fit"):
        attentions(MAXVIT, variables(), IMAGES[:, :, :20])
