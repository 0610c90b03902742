"""Any backbone with any detector: runs, has gradients where it should, whatever the padding."""

import functools
import re

import jax
import jax.export
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.weights.mapping import flatten, unflatten
from maxvit_jax import detectors
from tests.golden.weights import make_image, make_variables
from tests.heads import micro

HEIGHT, WIDTH, CLASSES = 52, 64, 4  # the larger strides don't divide the height
# One and two stages, and both conventions, among the fast; each backbone with each detector among
# the slow.
FAST = [("maxvit_tiny", "retinanet", "mm"), ("tiny_moat_0", "mask_rcnn", "mg")]
CASCADE = ("poolformer_s12", "cascade_mask_rcnn", "mg")
SLOW = [
    (backbone, head, ("mm", "mg")[(i + j) % 2])
    for i, backbone in enumerate(micro.BACKBONES)
    for j, head in enumerate(micro.DETECTORS)
    if (backbone, head) not in [row[:2] for row in FAST]
]
EVERY = [*FAST, *(pytest.param(*row, marks=pytest.mark.slow) for row in SLOW)]
every = pytest.mark.parametrize("backbone, head, convention", EVERY)
each_kind = pytest.mark.parametrize(
    "backbone, head, convention", [*FAST, pytest.param(*CASCADE, marks=pytest.mark.slow)]
)


def targets(boxes, labels):
    """Objects of one image as a batch of two, the other has none."""
    y, x = (np.mgrid[:112, :112] + 0.5) / 112 - 0.5
    masks = np.broadcast_to(np.hypot(y, x) < 0.5, (2, len(labels), 112, 112))
    return {
        "boxes": np.stack([boxes, np.zeros_like(boxes)]).astype(np.float32),
        "labels": np.stack([labels, np.full_like(labels, -1)]).astype(np.int32),
        "size": np.array([[HEIGHT, WIDTH]] * 2, np.int32),
        "masks": masks.astype(np.uint8) * 255,
    }


BOXES = np.array([[4, 6, 30, 40], [20, 10, 60, 50], [33, 2, 41, 12], [0, 0, 0, 0]])
LABELS = np.array([1, 3, 0, -1])
TARGETS = targets(BOXES, LABELS)
IMAGES = make_image((2, HEIGHT, WIDTH, 3))
DELTAS = re.compile(r"/box_head_\d/deltas/")


@functools.cache
def built(backbone, head, convention):
    model = micro.detector(backbone, head, convention)
    variables = make_variables(model, IMAGES)
    # As initial ones: a later stage of a cascade sees boxes that are still about objects.
    small = {n: a * 1e-3 for n, a in flatten(variables).items() if DELTAS.search(n)}
    return model, unflatten(flatten(variables) | small)


@functools.cache
def program(backbone, head, convention):
    """Compiled once: losses, new statistics and the gradient of a weighted sum of the losses."""
    model, variables = built(backbone, head, convention)

    def total(params, targets, weights):
        losses, updates = model.apply(
            variables | {"params": params},
            IMAGES,
            targets,
            jax.random.key(1),
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
            method="losses",
        )
        return sum(weights[name] * loss for name, loss in losses.items()), (losses, updates)

    return jax.jit(jax.grad(total, has_aux=True))


def names(head):
    of_proposals = ("rpn_class_loss", "rpn_box_loss", "mask_loss")
    return ("class_loss", "box_loss", *(() if head == "retinanet" else of_proposals))


def run(which, targets=TARGETS, *, only=None):
    """Losses, statistics and the gradient, of some losses or of all."""
    _, variables = built(*which)
    weights = {name: float(only is None or name in only) for name in names(which[1])}
    gradient, (losses, updates) = program(*which)(variables["params"], targets, weights)
    assert losses.keys() == weights.keys()
    return losses, flatten(updates), flatten(gradient)


def unread(model):
    """What has no gradient: a MetaFormer's norm of a map that the pyramid doesn't read; and that of
    a level for boxes, where no object has the level's size."""
    names = r"head/box_norm_\d_level_[1-4]/"
    return names if model.finest_stride == 4 else f"{names}|backbone/stage_1_norm/"


@every
def test_gradients_reach_everything(backbone, head, convention):
    which = backbone, head, convention
    model, variables = built(*which)
    losses, updates, gradient = run(which)
    assert all(np.isfinite(loss) and loss > 0 for loss in losses.values())
    for name, value in gradient.items():
        assert np.isfinite(value).all(), name
        assert np.any(value) or re.match(unread(model), name), name
    before = flatten(variables)
    assert all(np.isfinite(x).all() and np.any(x != before[n]) for n, x in updates.items())
    if convention == "mg":
        parts = {"neck", "head"} if head == "retinanet" else {"neck", "rpn", "mask_head"}
        assert parts <= {name.split("/")[1] for name in updates}


@every
def test_what_is_found(backbone, head, convention):
    model, variables = built(backbone, head, convention)
    found = jax.eval_shape(lambda v, x: model.apply(v, x), variables, IMAGES)
    masks = None if head == "retinanet" else (2, 100, 28, 28)
    assert jax.tree.map(jnp.shape, found) == ((2, 100, 4), (2, 100), (2, 100), masks)
    assert found.boxes.dtype == found.scores.dtype == jnp.float32
    assert found.classes.dtype == jnp.int32


@each_kind
def test_images_without_objects_have_finite_losses_and_gradients(backbone, head, convention):
    nothing = targets(BOXES * 0, np.full(4, -1))
    losses, updates, gradient = run((backbone, head, convention), nothing)
    assert losses["class_loss"] > 0 and losses["box_loss"] == 0
    assert losses.get("mask_loss", 0) == losses.get("rpn_box_loss", 0) == 0
    for name, value in (updates | gradient).items():
        assert np.isfinite(value).all(), name
    assert np.any(gradient[FIRST[backbone]])


@each_kind
def test_order_of_objects_and_what_stands_in_padding_change_nothing(backbone, head, convention):
    which = backbone, head, convention
    order = [3, 2, 0, 1]
    boxes = BOXES[order]
    boxes[0] = 2, 3, 40, 45  # no object, whatever it says
    # A pixel of a mask to learn may lie on its outline, and rounding decides.
    exact = set(names(head)) - {"mask_loss"}
    losses, _, gradient = run(which, only=exact)
    others, _, other_gradient = run(which, targets(boxes, LABELS[order]), only=exact)
    for name, loss in losses.items():
        limit = 1e-5 if name in exact else 1e-3
        np.testing.assert_allclose(others[name], loss, rtol=limit, err_msg=name)
    largest = max(np.abs(value).max() for value in gradient.values())
    for name, value in gradient.items():
        np.testing.assert_allclose(
            other_gradient[name], value, rtol=1e-3, atol=1e-5 * largest, err_msg=name
        )


# The kernel that sees the image.
FIRST = {
    "maxvit_tiny": "backbone/stem/conv_0/kernel",
    "tiny_moat_0": "backbone/stem/conv_0/kernel",
    "poolformer_s12": "backbone/stem/conv/kernel",
}


@each_kind
def test_every_loss_reaches_the_backbone_and_its_own_head_alone(backbone, head, convention):
    which = backbone, head, convention
    heads = {
        "class_loss": ("head", "box_head"),
        "box_loss": ("head", "box_head"),
        "rpn_class_loss": ("rpn",),
        "rpn_box_loss": ("rpn",),
        "mask_loss": ("mask_head",),
    }
    for name in names(head):
        _, _, gradient = run(which, only={name})
        assert np.abs(gradient[FIRST[backbone]]).max() > 0
        reached = {n.partition("/")[0] for n, value in gradient.items() if np.any(value)}
        own = {part for part in reached if part.startswith(heads[name])}
        assert own and reached == {"backbone", "neck"} | own


def test_frozen_norms_of_a_backbone_stay():
    model = micro.detector("tiny_moat_0", "retinanet", "mg", frozen_norm=True)
    variables = make_variables(model, IMAGES)

    @jax.jit
    def updated(variables):
        options = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(0)}}
        rest = IMAGES, TARGETS, jax.random.key(1)
        return model.apply(variables, *rest, method="losses", **options)[1]

    before = flatten(variables)
    for name, value in flatten(updated(variables)).items():
        assert np.any(value != before[name]) != ("/backbone/" in name), name


def pointwise(path, x):
    """A variable of a network that makes nothing of nothing, and looks at no neighbours."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.endswith("bias"):
        return np.full_like(x, -6 if "class_logits" in name else 0)
    if x.ndim == 4 and "stem" not in name:
        side = x.shape[0]
        centre = np.zeros((side, side, 1, 1))
        centre[side // 2, side // 2] = side  # of noise as large as before
        return (x * centre).astype(np.float32)
    return x


def test_a_larger_canvas_has_the_same_objects():
    heads = {"num_classes": CLASSES, **micro.DETECTORS["retinanet"]}
    model = detectors.create_model(
        "convformer_s18+retinanet", backbone_fields=micro.WIDTHS, **heads
    )
    variables = jax.tree_util.tree_map_with_path(pointwise, make_variables(model, IMAGES))
    image = np.pad(make_image((1, 60, 60, 3)), ((0, 0), (0, 4), (0, 4), (0, 0)))
    larger = np.pad(image, ((0, 0), (0, 32), (0, 64), (0, 0)))
    find = jax.jit(model.apply)
    plain, padded = find(variables, image), find(variables, larger, sizes=np.array([[64, 64]]))
    count = (plain.classes >= 0).sum()
    assert 10 < count < 100 and plain.boxes.max() == 64
    for a, b in zip(plain[:3], padded[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_images_that_dont_fit_the_backbone():
    model = micro.detector("maxvit_tiny", backbone_fields={"pad_inputs": False})
    with pytest.raises(UserError, match="nearest"):
        model.init(jax.random.key(0), jnp.zeros((1, 50, 50, 3)))


@pytest.mark.parametrize(
    "head, fields, words",
    [
        ("retinanet", {"convention": "mmdet"}, "convention='mmdet': did you mean 'mm'"),
        ("retinanet", {"finest_stride": 6}, "has maps at strides 4, 8, 16, 32"),
        ("retinanet", {"extra_levels": -1}, "nearest valid: 0"),
        ("retinanet", {"depth": 0}, "nearest valid: 1"),
        ("retinanet", {"num_classes": 0}, "nearest valid: 1"),
        ("retinanet", {"masks": True}, "no field 'masks'"),
        ("retinanet", {"backbone_fields": {"dtype": "bfloat16"}}, "follows the model's own field"),
        ("mask_rcnn", {"iou_thresholds": (0.5, 0.6)}, "one for each of iou_thresholds"),
        ("mask_rcnn", {"iou_thresholds": (50.0,)}, "numbers between 0 and 1"),
        ("cascade_mask_rcnn", {"class_agnostic": False}, "class_agnostic=True"),
        ("mask_rcnn", {"box_channels": 0}, "nearest valid: 1"),
    ],
)
def test_mistakes(head, fields, words):
    with pytest.raises(UserError, match=words):
        micro.detector(head=head, **fields)


@pytest.mark.parametrize("convention", ["mm", "mg"])
def test_maps_beyond_the_backbones_may_be_none(convention):
    model = micro.detector(head="mask_rcnn", convention=convention, extra_levels=0, finest_stride=8)
    assert model.strides == [8, 16, 32]
    shapes = jax.eval_shape(model.init_with_output, jax.random.key(0), IMAGES)
    assert shapes[0].masks.shape == (2, 100, 28, 28)
    assert detectors.create_model("convformer_s18+mask_rcnn").strides == [4, 8, 16, 32, 64]


@pytest.mark.slow
@pytest.mark.parametrize("backbone, head, convention", [FAST[1]])
def test_a_program_for_any_batch_and_platform(backbone, head, convention):
    model, variables = built(backbone, head, convention)
    batch = jax.export.symbolic_shape("b, 64, 64, 3")
    images = jax.ShapeDtypeStruct(batch, jnp.float32)
    sizes = jax.ShapeDtypeStruct((batch[0], 2), jnp.int32)
    found = jax.jit(lambda v, x, s: model.apply(v, x, sizes=s))
    program = jax.export.export(found, platforms=("cpu", "cuda", "tpu"))(variables, images, sizes)
    assert [len(a.shape) for a in program.out_avals] == [3, 2, 2, 4]
    larger = np.pad(IMAGES, ((0, 0), (0, 12), (0, 0), (0, 0)))
    for got, want in zip(
        program.call(variables, larger, TARGETS["size"]),
        found(variables, larger, TARGETS["size"]),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, atol=1e-4)
