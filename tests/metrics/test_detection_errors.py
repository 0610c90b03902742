"""Kinds of errors on an image made by hand."""

import numpy as np

from common.detections import Detections
from common.metrics.detection_errors import (
    KINDS,
    ErrorCounts,
    Truths,
    find_errors,
    truths_by_image,
)

BOXES = np.array(
    [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10], [0, 100, 100, 200.0]]
)
TRUTHS = Truths(BOXES, np.array([0, 1, 0, 1, 0]), np.array([False] * 4 + [True]))

# Box, score, class, what it is.
FOUND = [
    ((0, 0, 10, 9), 0.8, 0, "duplicate"),  # the better box comes second, but its score is lower
    ((0, 0, 10, 10), 0.9, 0, "correct"),
    ((20, 0, 30, 10), 0.7, 0, "wrong_class"),
    ((40, 0, 50, 4), 0.6, 0, "poor_box"),  # an IoU of .4
    ((60, 0, 70, 3), 0.5, 0, "wrong_class_and_box"),
    ((200, 0, 210, 10), 0.4, 1, "background"),
    ((10, 110, 20, 120), 0.35, 0, None),  # in the crowd
    ((10, 110, 20, 120), 0.34, 1, "background"),  # a crowd of another class
]


def found(rows=FOUND):
    boxes, scores, classes, _ = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float64), np.array(scores), np.array(classes))


def test_every_kind_of_error():
    errors = find_errors(found(), TRUTHS)
    named = [None if kind < 0 else KINDS[kind] for kind in errors.kinds]
    assert named == [row[3] for row in FOUND]
    assert errors.missed.tolist() == [False, True, True, True, False]
    assert errors.f1 == 2 * 1 / (7 + 4)


def test_counts_are_by_class_and_add_up():
    counts = ErrorCounts(2)
    for _ in range(2):
        counts.add(find_errors(found(), TRUTHS), found(), TRUTHS)
    expected = {
        "correct": [2, 0],
        "duplicate": [2, 0],
        "wrong_class": [2, 0],
        "poor_box": [2, 0],
        "wrong_class_and_box": [2, 0],
        "background": [0, 4],
    }
    assert dict(zip(KINDS, counts.detections.T.tolist(), strict=True)) == expected
    assert counts.missed.tolist() == [2, 4]
    assert counts.objects.tolist() == [4, 4]


def test_the_thresholds_belong_to_the_better_kind():
    truths = Truths(BOXES[:1], np.array([0]), np.array([False]))
    for height, kind in ((5, "correct"), (4.9, "poor_box"), (1, "poor_box"), (0.9, "background")):
        errors = find_errors(found([((0, 0, 10, height), 0.5, 0, "")]), truths)
        assert KINDS[errors.kinds[0]] == kind, height


def test_a_detection_takes_the_object_that_it_fits_best():
    truths = Truths(np.array([[0, 0, 10, 10], [0, 2, 10, 12.0]]), np.zeros(2), np.zeros(2, bool))
    both = find_errors(found([((0, 2, 10, 12), 0.9, 0, ""), ((0, 1, 10, 11), 0.8, 0, "")]), truths)
    assert both.kinds.tolist() == [0, 0] and not both.missed.any()


def test_no_detections_and_no_objects():
    nothing = found()._replace(boxes=np.zeros((0, 4)), scores=np.zeros(0), classes=np.zeros(0, int))
    errors = find_errors(nothing, TRUTHS)
    assert errors.missed.sum() == 4 and errors.f1 == 0
    no_truths = Truths(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    assert np.isnan(find_errors(nothing, no_truths).f1)
    assert (find_errors(found(), no_truths).kinds == KINDS.index("background")).all()


def test_truths_are_read_by_image_and_class():
    annotations = [
        {"image_id": 5, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"image_id": 5, "category_id": 8, "bbox": [1, 2, 3, 4]},  # no class of ours
        {"image_id": 6, "category_id": 7, "bbox": [0, 0, 1, 1], "iscrowd": 0},
    ]
    truths = truths_by_image({"annotations": annotations}, [7, 9], [4, 5])
    assert list(truths) == [4, 5] and truths[4].boxes.shape == (0, 4)
    assert truths[5].boxes.tolist() == [[1, 2, 4, 6]]
    assert truths[5].classes.tolist() == [1] and truths[5].crowd.tolist() == [True]
