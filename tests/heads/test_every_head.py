"""Any backbone with any head: builds, runs, has gradients everywhere; mistakes are one line."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from maxvit_jax import segmenters
from tests.golden.weights import make_variables
from tests.heads import micro

# Each family and each head at least once among the fast; all pairs among the slow.
FAST = {
    ("maxvit_tiny", "fpn_concat"),
    ("tiny_moat_0", "deeplabv3plus"),
    ("aewin_tiny", "upernet"),
    ("poolformer_s12", "semantic_fpn"),
}
PAIRS = [
    pytest.param(b, h, marks=() if (b, h) in FAST else pytest.mark.slow)
    for b in micro.BACKBONES
    for h in micro.HEADS
]
# A MetaFormer's norm of a map that the head doesn't read.
UNREAD = {"deeplabv3plus": "backbone/stage_2_norm/", "fpn_concat": "backbone/stage_1_norm/"}


@pytest.mark.parametrize("backbone, head", PAIRS)
def test_forward_and_backward(backbone, head):
    model = micro.create(backbone, head, auxiliary_channels=4)
    height, width = 36, 48  # the larger strides don't divide them
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, height, width, 3)), jnp.float32)
    variables = make_variables(model, images)

    def loss(params):
        outputs, updates = model.apply(
            variables | {"params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
            method="all_logits",
        )
        return sum(jnp.square(x).mean() for x in outputs), (outputs, updates)

    gradient, (outputs, updates) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    stride = 8 if head == "fpn_concat" else 4
    assert outputs[0].shape == (2, -(-height // stride), -(-width // stride), 4)
    assert outputs[0].dtype == jnp.float32
    assert outputs[1].shape == (2, -(-height // 16), -(-width // 16), 4)
    for name, value in flatten(gradient).items():
        assert np.isfinite(value).all(), name
        assert np.any(value) != name.startswith(UNREAD.get(head, "no")), name
    moved = flatten(updates["batch_stats"])
    assert any(name.startswith("head/") for name in moved)
    assert all(np.any(x != flatten(variables["batch_stats"])[n]) for n, x in moved.items())


@pytest.mark.parametrize("backbone", maxvit_jax.list_models())
def test_every_name_makes_a_model(backbone):
    for head in micro.HEADS:
        name = f"{backbone}+{head}"
        assert segmenters.knows(name) and not maxvit_jax.knows(name)
        assert segmenters.create_model(name, num_classes=3).num_classes == 3


def test_a_narrower_type_reaches_both_parts():
    model = micro.create(dtype="bfloat16")
    images = jnp.zeros((1, 32, 32, 3))
    shape, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert shape.dtype == jnp.float32  # logits
    assert model.make_backbone().dtype == jnp.bfloat16


def test_output_stride_16_keeps_weights_and_halves_the_stride():
    coarse, fine = (
        micro.create("tiny_moat_0", "deeplabv3plus", backbone_fields={"output_stride": s})
        for s in (32, 16)
    )
    images = jnp.zeros((1, 64, 64, 3))
    shapes = [jax.eval_shape(m.init, jax.random.key(0), images) for m in (coarse, fine)]
    assert jax.tree.map(jnp.shape, shapes[0]) == jax.tree.map(jnp.shape, shapes[1])
    backbone = fine.make_backbone()
    maps = jax.eval_shape(
        lambda: backbone.init_with_output(jax.random.key(0), images, method="features")[0]
    )
    assert {n: 64 // x.shape[1] for n, x in maps.items()} == backbone.feature_strides
    assert list(backbone.feature_strides.values()) == [2, 4, 8, 16, 16]


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"head_fields": {"chanels": 8}}, "did you mean 'channels'"),
        ({"head_fields": {"num_classes": 8}}, "follows the model's own field"),
        ({"backbone_fields": {"depth": (1,)}}, "did you mean 'depths'"),
        ({"backbone_fields": {"dtype": "bfloat16"}}, "follows the model's own field"),
        ({"num_classes": 0}, "label maps have 1 to 255"),
        ({"num_classes": 256}, "label maps have 1 to 255"),
        ({"auxiliary_channels": -1}, "must not be negative"),
        ({"head_name": "upernets"}, "did you mean 'upernet'"),
    ],
)
def test_mistakes(fields, words):
    with pytest.raises(UserError, match=words):
        segmenters.create_model("poolformer_s12+semantic_fpn", **fields)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'caformer_s18\+upernet'"):
        segmenters.create_model("caformer_s18+upernets")
