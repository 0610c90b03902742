"""RetinaNet's losses against NumPy, and what must not change them."""

import jax
import numpy as np
import pytest

from maxvit_jax.models.retinanet import RetinaNet
from tests.heads import micro
from tests.models import numpy_matching as plain

CLASSES, SIDE = 4, 64
# Both thresholds of "mm" have anchors on either side; the smallest object has low-quality ones.
BOXES = np.array([[4, 6, 40, 38], [20, 10, 60, 62], [30, 33, 36, 37], [0, 0, 0, 0]], np.float32)
LABELS = np.array([1, 3, 0, -1], np.int32)
NOTHING = np.full(4, -1, np.int32)
TARGETS = {
    "boxes": np.stack([BOXES, BOXES * 0]),
    "labels": np.stack([LABELS, NOTHING]),
    "size": np.full((2, 2), SIDE, np.int32),
}


def outputs(model):
    """Anchors, and random logits and deltas for them."""
    rng = np.random.default_rng(0)
    anchors = [np.asarray(a) for a in model._anchors([(-(-SIDE // s),) * 2 for s in model.strides])]
    logits = [rng.normal(size=(2, len(a), CLASSES)).astype(np.float32) for a in anchors]
    deltas = [rng.normal(0, 0.1, (2, len(a), 4)).astype(np.float32) for a in anchors]
    return anchors, logits, deltas


def losses(model, found, targets, monkeypatch):
    """The model's losses of given outputs."""
    monkeypatch.setattr(RetinaNet, "outputs", lambda self, images, train: found)
    return jax.device_get(jax.jit(model.losses)(None, targets, jax.random.key(0)))


def expected(model, anchors, logits, deltas):
    """The losses by section and equation of the papers and releases, in float64."""
    mm = model.convention == "mm"
    anchors = np.concatenate(anchors).astype(float)
    logits, deltas = (np.concatenate(x, 1).astype(float) for x in (logits, deltas))
    classes = boxes = positives = 0
    for i in range(2):
        labels = TARGETS["labels"][i]
        index, kinds = plain.matched(BOXES, labels, anchors, 0.5, 0.4 if mm else 0.5, 0)
        assert i or ((kinds == 1).sum() > 5 and (mm == (kinds == -1).any()))
        right = np.zeros(logits[i].shape, bool)
        for a in np.flatnonzero(kinds == 1):
            right[a, labels[index[a]]] = True
            difference = deltas[i, a] - plain.deltas(BOXES[index[a]], anchors[a])
            # Huber's loss with delta 0.1 is a tenth of smooth L1's with that beta.
            size = np.abs(difference).sum() if mm else 0.1 * plain.smooth_l1(difference, 0.1).mean()
            boxes += size if mm else 50 * size
        share = 1 / (1 + np.exp(-logits[i]))
        wrong = np.where(right, 1 - share, share) ** (2 if mm else 1.5)
        focal = np.where(right, 0.25, 0.75) * wrong * plain.yes_or_no(logits[i], right)
        classes += focal[kinds >= 0].sum()
        positives += (kinds == 1).sum()
    count = max(positives, 1) if mm else positives + 1
    return {"class_loss": classes / count, "box_loss": boxes / count}


@pytest.mark.parametrize("convention", ["mm", "mg"])
def test_losses_are_those_of_the_releases(convention, monkeypatch):
    model = micro.detector(convention=convention)
    found = outputs(model)
    got, want = losses(model, found, TARGETS, monkeypatch), expected(model, *found)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5)
    order = [3, 2, 3, 0, 1, 3]  # more padding
    boxes, labels = (TARGETS[key][:, order] for key in ("boxes", "labels"))
    again = losses(model, found, TARGETS | {"boxes": boxes, "labels": labels}, monkeypatch)
    for name in want:
        np.testing.assert_allclose(again[name], got[name], rtol=1e-6)


@pytest.mark.parametrize("convention", ["mm", "mg"])
def test_perfect_predictions_cost_nothing(convention, monkeypatch):
    model = micro.detector(convention=convention)
    anchors, logits, deltas = outputs(model)
    anchors = np.concatenate(anchors)
    logits, deltas = (np.concatenate(levels, 1) for levels in (logits, deltas))
    logits[:] = -20
    index, kinds = plain.matched(BOXES, LABELS, anchors, 0.5, 0.4, 0)
    for a in range(len(anchors)):
        deltas[0, a] = plain.deltas(BOXES[index[a]], anchors[a])
        if kinds[a] == 1:
            logits[0, a, LABELS[index[a]]] = 20
    found = [anchors], [logits], [deltas]
    good = losses(model, found, TARGETS, monkeypatch)
    assert max(good.values()) < 1e-4
    logits[0, kinds == 1] = -20  # all missed
    missed = losses(model, found, TARGETS, monkeypatch)
    assert missed["class_loss"] > 1 and missed["box_loss"] == good["box_loss"]
