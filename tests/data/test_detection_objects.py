"""Every kind of fault that an annotation may have."""

import math

import pytest

from common.data import detection_objects as kinds
from common.data.detection_objects import problems_line
from common.errors import UserError
from tests.data.detection_folders import HEIGHT, RECTANGLE, WIDTH, annotation, folder, make

SIZE = [HEIGHT, WIDTH]
FAULTS = {
    kinds.OUTSIDE: [{"bbox": [WIDTH, 0, 5, 5]}, {"bbox": [-5, 3, 5, 5]}, {"bbox": [0, -9, 5, 8]}],
    kinds.NO_AREA: [{"bbox": [1, 1, 0, 5]}, {"bbox": [1, 1, 5, -2]}],
    kinds.BAD_BOX: [{"bbox": []}, {"bbox": None}, {"bbox": "1234"}, {"bbox": [1, 2, 3, "4"]}],
    kinds.UNKNOWN_CATEGORY: [{"category_id": 4}, {"category_id": "3"}, {"category_id": None}],
    kinds.UNKNOWN_IMAGE: [{"image_id": 6}, {"image_id": [5]}, {"image_id": None}],
    kinds.NOT_FINITE: [
        {"bbox": [1, 1, math.nan, 5]},
        {"bbox": [math.inf, 1, 4, 5]},
        {"bbox": [10**400, 1, 4, 5]},
        {"segmentation": [[*RECTANGLE[:-1], math.nan]]},
        {"segmentation": [[*RECTANGLE[:-1], 10**400]]},
    ],
    kinds.FEW_POINTS: [{"segmentation": [[1, 1, 5, 5]]}, {"segmentation": [[], [1, 2]]}],
    kinds.BAD_SEGMENTATION: [
        {"segmentation": RECTANGLE},
        {"segmentation": [RECTANGLE[:-1]]},
        {"segmentation": [[*RECTANGLE[:-1], "a"]]},
        {"segmentation": "abc"},
        {"segmentation": {"counts": [1, 2], "size": SIZE}},
        {"segmentation": {"counts": [HEIGHT * WIDTH], "size": SIZE[::-1]}},
        {"segmentation": {"counts": [-1, HEIGHT * WIDTH + 1], "size": SIZE}},
        {"segmentation": {"counts": "zzz", "size": SIZE}},
        {"segmentation": {"counts": [10**400], "size": SIZE}},
        {"segmentation": {"counts": [[1]], "size": SIZE}},
        {"segmentation": {"size": SIZE}},
        {"segmentation": {"counts": [HEIGHT * WIDTH]}},
    ],
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults(tmp_path, kind):
    bad = [annotation(10 + i) | fields for i, fields in enumerate(FAULTS[kind])]
    source = make(folder(tmp_path, [*bad, annotation(2, category=7)]))
    assert source.problems == {kind: len(bad)}
    assert source[0]["labels"].tolist() == [1]  # the good one
    assert source.summary.endswith(f"; {len(bad)} annotations left out: {len(bad)} {kind}")
    with pytest.raises(UserError, match=rf"no object that can be used in .*: \d+ .* {kind}"):
        make(folder(tmp_path, bad))


def test_entries_that_are_no_annotations(tmp_path):
    source = make(folder(tmp_path, ["?", 3, None, annotation()]))
    assert source.problems == {kinds.BAD_BOX: 3}


def test_what_keeps_its_object(tmp_path):
    objects = [
        annotation(1, bbox=[-10, 20, 30, 40]),
        annotation(2, segmentation=[RECTANGLE, [1, 1, 2, 2]]),
        annotation(2, bbox=[1, 1, 5, 5]),
        annotation(2),
    ]
    source = make(folder(tmp_path, objects))
    assert source.problems == {
        kinds.CLIPPED: 1,
        kinds.SHORT_PART: 1,
        kinds.SAME_ID: 1,
        kinds.TWICE: 1,
    }
    assert source.summary.endswith(
        "; 1 annotations left out: 1 object listed twice; kept: 1 box clipped to the image, "
        "1 part of an outline with fewer than three points, 1 annotation id used again"
    )
    assert source[0]["boxes"].tolist() == [[0, 20, 20, 30], [10, 5, 20, 15], [1, 1, 6, 6]]
    truth = source.ground_truth()["annotations"]
    assert [row["id"] for row in truth] == [1, 2, 3]
    assert truth[0]["bbox"] == [0, 20, 20, 10] and truth[1]["segmentation"] == [RECTANGLE]


def test_masks_only_where_every_object_has_one(tmp_path):
    source = make(folder(tmp_path, [annotation(1), annotation(2, segmentation=[], category=7)]))
    assert not source.has_masks and "masks" not in source[0] and len(source[0]["labels"]) == 2
    assert "without masks (1 of all 2 have none)" in source.summary


@pytest.mark.parametrize("area", [None, math.nan, -1, "9", 1e9, 10**400])
def test_areas_that_are_no_areas(tmp_path, area):
    triangle = [[10, 5, 20, 5, 10, 15]]
    objects = [annotation(1, area=area, segmentation=triangle), annotation(2, area=12.5)]
    areas = [row["area"] for row in make(folder(tmp_path, objects)).ground_truth()["annotations"]]
    assert 40 < areas[0] < 60 and areas[1] == 12.5


def test_words():
    assert problems_line({}) == ""
    assert problems_line({kinds.OUTSIDE: 1200, kinds.NO_AREA: 1}) == (
        "1,201 annotations left out: 1,200 box outside the image, 1 box without area"
    )
