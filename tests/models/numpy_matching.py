"""Matching and losses of detection written again, one box at a time in NumPy."""

import numpy as np


def overlap(a, b):
    """Intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inside = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inside / (sum(areas) - inside)


def matched(boxes, labels, anchors, positive, negative, low_quality=None):
    """Per anchor the number of its object, and 1, 0 or -1 (ignored)."""
    real = [i for i, label in enumerate(labels) if label >= 0]
    table = np.array([[overlap(boxes[i], a) for a in anchors] for i in real])
    table = table.reshape(len(real), len(anchors))
    index, kinds = np.zeros(len(anchors), int), np.zeros(len(anchors), int)
    for a in range(len(anchors)):
        column = table[:, a]
        most = column.max(initial=0)
        if real:
            index[a] = real[column.argmax()]
        kinds[a] = 1 if most >= positive else 0 if most < negative else -1
    if low_quality is not None:
        for row in table:
            if row.max() > 0 and row.max() >= low_quality:
                kinds[row >= row.max() - 1e-6] = 1
    return index, kinds


def deltas(box, anchor, weights=(1, 1, 1, 1)):
    """Of an anchor to a box."""
    sides, wanted = anchor[2:] - anchor[:2], box[2:] - box[:2]
    shift = ((box[:2] + box[2:]) / 2 - (anchor[:2] + anchor[2:]) / 2) / sides
    return np.concatenate([shift, np.log(wanted / sides)]) * weights


def smooth_l1(difference, beta):
    difference = np.abs(difference)
    if beta == 0:
        return difference
    return np.where(difference < beta, difference**2 / (2 * beta), difference - beta / 2)


def yes_or_no(logits, yes):
    """Binary cross entropy."""
    return np.log1p(np.exp(np.where(yes, -logits, logits)))
