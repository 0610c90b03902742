"""Mask R-CNN's losses against NumPy, which boxes they are of, and what masks should be."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from maxvit_jax.heads.box_head import BoxHead
from maxvit_jax.heads.mask_targets import mask_targets
from maxvit_jax.models import mask_rcnn
from maxvit_jax.models.mask_rcnn import _Boxes
from tests.golden.weights import make_image, make_variables
from tests.heads import micro
from tests.models import numpy_matching as plain

SIDE, CLASSES = 64, 4
BOXES = np.array([[4, 6, 40, 38], [20, 10, 60, 62], [30, 33, 36, 37], [0, 0, 0, 0]], np.float32)
LABELS = np.array([1, 3, 0, -1], np.int32)
TARGETS = {
    "boxes": np.stack([BOXES, BOXES * 0]),
    "labels": np.stack([LABELS, np.full(4, -1, np.int32)]),
    "size": np.full((2, 2), SIDE, np.int32),
}
HEADS = [(h, c) for h in ("mask_rcnn", "cascade_mask_rcnn") for c in ("mm", "mg")]


def grid(side, stride):
    """Boxes of a side at every so many pixels."""
    y, x = (places.ravel() for places in np.mgrid[0:SIDE:stride, 0:SIDE:stride])
    return np.stack([x, y, x + side, y + side], -1).astype(np.float32)


def near(boxes, size):
    """Boxes moved by a few pixels."""
    return boxes + np.random.default_rng(5).uniform(-size, size, boxes.shape).astype(np.float32)


@pytest.mark.parametrize("head, convention", HEADS)
def test_losses_of_proposals_are_those_of_the_releases(head, convention):
    model = micro.detector(head=head, convention=convention, samples=512)
    anchors = [
        np.concatenate([grid(16, 8), near(BOXES[2:3], 0.1)]),
        np.concatenate([grid(32, 16), near(BOXES[:2], 2)]),
    ]
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(2, len(a))).astype(np.float32) for a in anchors]
    deltas = [rng.normal(size=(2, len(a), 4)).astype(np.float32) for a in anchors]
    got = jax.jit(model._rpn_losses)(anchors, logits, deltas, TARGETS, jax.random.key(0))
    order = [3, 2, 3, 0, 1, 3]  # more padding
    more = {key: TARGETS[key][:, order] for key in ("boxes", "labels")}
    again = jax.jit(model._rpn_losses)(anchors, logits, deltas, more, jax.random.key(0))
    for name in got:
        np.testing.assert_allclose(again[name], got[name], rtol=1e-6)

    mm, first = convention == "mm", len(anchors[0])
    beta = 1 / 9 if head == "cascade_mask_rcnn" or not mm else 0
    objectness, drawn, sums, positives = 0, 0, np.zeros(2), np.zeros(2)
    anchors, logits, deltas = (
        np.concatenate(anchors).astype(float),
        *(np.concatenate(x, 1).astype(float) for x in (logits, deltas)),
    )
    for i in range(2):
        labels = TARGETS["labels"][i]
        index, kinds = plain.matched(BOXES, labels, anchors, 0.7, 0.3, 0.3 if mm else 0)
        # So few that all are drawn.
        assert (kinds >= 0).sum() < 256 and (i or ((kinds == 1).sum() > 2 and -1 in kinds))
        objectness += plain.yes_or_no(logits[i], kinds == 1)[kinds >= 0].sum()
        drawn += (kinds >= 0).sum()
        for a in np.flatnonzero(kinds == 1):
            difference = deltas[i, a] - plain.deltas(BOXES[index[a]], anchors[a])
            sums[int(a >= first)] += plain.smooth_l1(difference, beta).sum()
            positives[int(a >= first)] += 1
    assert (positives > 0).all()
    if mm:
        want = {"rpn_class_loss": objectness / drawn, "rpn_box_loss": sums.sum() / drawn}
    else:  # Huber's loss is smooth L1 times its delta; a mean over coordinates, per level
        boxes = (sums / 9 / (4 * positives)).sum()
        want = {"rpn_class_loss": objectness / (2 * 512), "rpn_box_loss": boxes}
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5)


@pytest.mark.parametrize("head, convention", HEADS)
def test_losses_of_boxes_are_those_of_the_releases(head, convention):
    model = micro.detector(head=head, convention=convention)
    stage, cascade = (1, True) if head == "cascade_mask_rcnn" else (0, False)
    rng = np.random.default_rng(1)
    boxes = np.stack([near(BOXES[[0, 1, 2, 0, 1]], 0.8)] * 2)
    real = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool)
    objects = np.array([[0, 1, 2, 0, 1], [0] * 5], np.int32)
    labels = np.array([[1, 3, 4, 1, 3], [4] * 5], np.int32)  # 4 is the background
    logits = rng.normal(size=(2, 5, 5)).astype(np.float32)
    deltas = rng.normal(size=(2, 5, 1 if cascade else 4, 4)).astype(np.float32)
    got = model._stage_losses(stage, _Boxes(boxes, real, objects, labels), logits, deltas, TARGETS)

    weights = (20, 20, 10, 10) if cascade else (10, 10, 5, 5)
    entropy, box_loss, positives = 0, 0, 0
    for i, j in zip(*np.nonzero(real), strict=True):
        row = logits[i, j].astype(float)
        entropy += np.log(np.exp(row).sum()) - row[labels[i, j]]
        if labels[i, j] < 4:
            wanted = plain.deltas(BOXES[objects[i, j]], boxes[i, j].astype(float), weights)
            found = deltas[i, j, 0 if cascade else labels[i, j]]
            smooth = cascade or convention == "mg"
            box_loss += plain.smooth_l1(found - wanted, 1 if smooth else 0).sum()
            positives += 1
    assert positives == 3 and real.sum() == 6
    want = entropy / 6, box_loss / (6 if convention == "mm" else 4 * 3)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("head, convention", HEADS)
def test_which_boxes_a_stage_learns_from(head, convention):
    model = micro.detector(head=head, convention=convention, samples=512)
    proposals = np.concatenate([grid(24, 8), near(BOXES[[0, 1] * 9], 4)])
    boxes, real = np.stack([proposals] * 2), np.ones((2, len(proposals)), bool)
    real[:, 10:20] = False
    looked = jax.jit(model._sampled)(boxes, real, TARGETS, jax.random.key(0))
    assert looked.boxes.shape == (2, 512, 4) and looked.labels.shape == (2, 512)
    garden = head == "cascade_mask_rcnn" and convention == "mg"
    positive, negative = (0.6, 0.5) if garden else (0.5, 0.5)
    for i in range(2):
        there = np.concatenate([proposals[real[i]], BOXES[TARGETS["labels"][i] >= 0]])
        index, kinds = plain.matched(BOXES, TARGETS["labels"][i], there, positive, negative)
        assert i or (garden == (-1 in kinds) and (kinds == 1).sum() > 10)
        # All of them fit: the ground truth too, and no padding.
        chosen = np.asarray(looked.boxes[i][looked.real[i]])
        assert len(chosen) == (kinds >= 0).sum()
        order, other = (np.lexsort(b.T) for b in (chosen, there[kinds >= 0]))
        np.testing.assert_array_equal(chosen[order], there[kinds >= 0][other])
        labels = np.where(kinds == 1, TARGETS["labels"][i][index], CLASSES)[kinds >= 0]
        np.testing.assert_array_equal(looked.labels[i][looked.real[i]][order], labels[other])
        positives = np.asarray(looked.labels[i] < CLASSES)[: (kinds == 1).sum()]
        assert positives.all()  # which come first
    if head != "cascade_mask_rcnn":
        return
    # The next stage takes better boxes and asks for more; padding stays padding.
    moved = np.asarray(looked.boxes).copy()
    moved[:, 0] = BOXES[0]
    moved[:, -1] = BOXES[0]
    again = jax.jit(model._relabelled, static_argnums=0)(1, moved, looked, TARGETS)
    np.testing.assert_array_equal(again.real, looked.real)
    assert not again.real[0, -1] and again.labels[0, -1] == 1
    assert again.real[1, 0] and again.labels[1, 0] == CLASSES  # an image without objects
    threshold = model.iou_thresholds[1]
    assert threshold > positive
    for j in np.flatnonzero(again.real[0]):
        (index,), (kind,) = plain.matched(BOXES, LABELS, moved[0, j : j + 1], threshold, threshold)
        assert again.labels[0, j] == (LABELS[index] if kind else CLASSES)
        assert again.objects[0, j] == index


def test_a_stage_draws_a_quarter_positive():
    model = micro.detector(head="mask_rcnn", samples=512)
    boxes = np.concatenate([near(BOXES[[0] * 300], 1), grid(8, 2)])[None]
    real = np.ones(boxes.shape[:2], bool)
    targets = {name: x[:1] for name, x in TARGETS.items()}
    looked = jax.jit(model._sampled)(boxes, real, targets, jax.random.key(0))
    assert looked.real.all() and (np.asarray(looked.labels) < CLASSES).sum() == 128


def cropped(mask, truth, box, size):
    """Whether the points of a grid in a box are in a mask that fills another box."""
    rows, columns = mask.shape
    inside = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            for di in (0.25, 0.75):  # four samples per cell
                for dj in (0.25, 0.75):
                    y = box[1] + (i + di) / size * (box[3] - box[1])
                    x = box[0] + (j + dj) / size * (box[2] - box[0])
                    row = int(np.floor((y - truth[1]) / (truth[3] - truth[1]) * rows))
                    column = int(np.floor((x - truth[0]) / (truth[2] - truth[0]) * columns))
                    if 0 <= row < rows and 0 <= column < columns:
                        inside[i, j] += mask[row, column] / 255 / 4
    return inside


def test_masks_to_learn_are_what_of_the_object_lies_in_the_box():
    y, x = (np.mgrid[:112, :112] + 0.5) / 112 - 0.5
    turned = np.abs(x + y) + 2 * np.abs(x - y) < 0.7  # a rhombus on its side
    masks = np.stack([np.full((112, 112), 255), 255 * turned]).astype(np.uint8)
    truth = np.array([[10, 20, 50, 44], [30, 8, 58, 60]], np.float32)
    boxes = np.array(
        [[10, 20, 50, 44], [30, 8, 58, 60], [22, 3, 51, 41], [40, 30, 49.5, 71], [0, 0, 9, 9]],
        np.float32,
    )
    objects = np.array([0, 1, 1, 1, 0], np.int32)
    found = np.asarray(jax.jit(mask_targets, static_argnums=4)(masks, truth, objects, boxes, 28))
    assert found[0].all() and not found[4].any()  # all of it, and none
    for mask, box, index in zip(found[1:4], boxes[1:4], objects[1:4], strict=True):
        want = cropped(masks[index], truth[index], box, 28)
        sure = np.abs(want - 0.5) > 0.3  # away from the outline
        assert sure.mean() > 0.8 and {0, 1} == set(mask[sure])
        np.testing.assert_array_equal(mask[sure], want[sure] > 0.5)


@pytest.mark.parametrize("convention", ["mm", "mg"])
def test_masks_are_learned_on_positive_boxes_of_the_right_class(convention, monkeypatch):
    # A quarter of the samples may be positive.
    model = micro.detector(head="mask_rcnn", convention=convention, samples=16)
    rng = np.random.default_rng(2)
    boxes = np.stack([BOXES[[0, 1, 2, 0]]] * 2)
    labels = np.array([[1, 3, 4, 1], [4] * 4], np.int32)
    real = np.array([[True, True, True, False]] * 2)
    looked = _Boxes(boxes, real, np.array([[0, 1, 2, 0], [0] * 4], np.int32), labels)
    logits = rng.normal(size=(2, 4, 28, 28, CLASSES)).astype(np.float32)
    given = lambda self, maps, boxes, real, train: jnp.asarray(logits)  # noqa: E731
    monkeypatch.setattr(mask_rcnn.MaskRCNN, "_mask_logits", given)
    masks = np.zeros((2, 4, 112, 112), np.uint8)
    masks[:, 1, :, :56] = 255  # the left half of the second object
    found = jax.jit(model._mask_loss)(None, looked, TARGETS | {"masks": masks})
    half = np.arange(28) < 14
    want = [
        plain.yes_or_no(logits[0, 0, :, :, 1], False),
        plain.yes_or_no(logits[0, 1, :, :, 3], half),
    ]
    np.testing.assert_allclose(found, np.mean(want), rtol=1e-5)


def test_stages_of_a_cascade_share_the_gradient_to_the_maps():
    given = {"head": "cascade_mask_rcnn", "sampling_ratio": 1}
    whole, shared = (micro.detector(**given, scale_gradient=scale) for scale in (False, True))
    maps = [make_image((2, -(-SIDE // s), -(-SIDE // s), 8), seed=s) for s in whole.strides]
    boxes, real = np.stack([BOXES[:3]] * 2), np.ones((2, 3), bool)
    head = BoxHead(CLASSES, class_agnostic=True, channels=8)
    variables = make_variables(head, jnp.zeros((1, 7, 7, 8)), real[0, :1], train=False)

    def looked(model):
        def loss(params, maps):
            params = {"params": {"box_head_0": params}}
            both = model.apply(params, 0, maps, boxes, real, train=True, method="_look")
            return sum(jnp.square(x).sum() for x in both)

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(variables["params"], maps)

    (loss, (of_head, of_maps)), (same, (same_head, third)) = looked(whole), looked(shared)
    assert loss == same
    jax.tree.map(np.testing.assert_array_equal, of_head, same_head)
    assert np.any(of_maps[0])
    for a, b in zip(of_maps, third, strict=True):
        np.testing.assert_allclose(b, a / 3, rtol=1e-5)
