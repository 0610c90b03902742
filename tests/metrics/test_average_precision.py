"""COCO's numbers against stored ones of pycocotools, as its own programs get them."""

import copy
import json

import numpy as np
import pytest

from common.metrics.average_precision import SUMMARY, average_precision
from tests.golden.cases import FOLDER

CATEGORIES = [1, 2, 3]
STORED = json.loads((FOLDER / "downstream" / "coco_ap.json").read_text())
TRUTH = STORED["ground_truth"]
IMAGE_IDS = [image["id"] for image in TRUTH["images"]]


def detections(name):
    if name != "perfect":
        return STORED["cases"][name]["detections"]
    fields = ("image_id", "category_id", "bbox", "segmentation")
    objects = [a for a in TRUTH["annotations"] if not a["iscrowd"]]
    return [{f: a[f] for f in fields} | {"score": 1 - 0.001 * a["id"]} for a in objects]


@pytest.mark.parametrize("name", STORED["cases"])
@pytest.mark.parametrize(("kind", "stored"), [("box", "bbox"), ("mask", "segm")])
def test_all_twelve_numbers_are_the_stored_ones(name, kind, stored, capsys):
    found = average_precision(TRUTH, detections(name), IMAGE_IDS, CATEGORIES, kind)
    expected = STORED["cases"][name]["metrics"][stored].values()
    expected = [value if value >= 0 else np.nan for value in expected]
    assert tuple(found.summary) == SUMMARY
    np.testing.assert_allclose(list(found.summary.values()), expected, rtol=1e-9)
    assert capsys.readouterr().out == ""


def test_classes_average_to_the_summary():
    found = average_precision(TRUTH, detections("good"), IMAGE_IDS, CATEGORIES, "box")
    assert found.ap.mean() == pytest.approx(found.summary["ap"])
    assert found.ap50.mean() == pytest.approx(found.summary["ap50"])
    assert found.precision.shape == (3, 101)
    np.testing.assert_allclose(found.precision.mean(1), found.ap50)
    assert len(set(found.ap)) == 3


def test_classes_keep_their_places_whatever_their_ids():
    expected = average_precision(TRUTH, detections("good"), IMAGE_IDS, CATEGORIES, "box")
    order = [3, 1, 2]
    found = average_precision(TRUTH, detections("good"), IMAGE_IDS, order, "box")
    np.testing.assert_array_equal(found.ap, expected.ap[[2, 0, 1]])
    np.testing.assert_array_equal(found.precision, expected.precision[[2, 0, 1]])


def test_a_class_without_objects_is_undefined():
    found = average_precision(TRUTH, detections("good"), IMAGE_IDS, [1, 2, 3, 4], "box")
    assert np.isnan(found.ap[3]) and np.isnan(found.precision[3]).all()
    assert found.summary["ap"] == pytest.approx(found.ap[:3].mean())


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_nothing_found_is_zero(kind):
    found = average_precision(TRUTH, [], IMAGE_IDS, CATEGORIES, kind)
    assert found.summary["ap"] == found.summary["ar100"] == 0
    assert not found.ap.any() and np.isnan(found.summary["ap_large"])  # there are none


def test_images_that_were_not_seen_do_not_count():
    seen = IMAGE_IDS[:6]
    found = [d for d in detections("perfect") if d["image_id"] in seen]
    assert average_precision(TRUTH, found, seen, CATEGORIES, "box").summary["ap"] == 1
    assert average_precision(TRUTH, found, IMAGE_IDS, CATEGORIES, "box").summary["ap"] < 1


def test_ids_of_annotations_may_start_at_zero_and_the_truth_stays():
    """pycocotools alone takes a match with annotation 0 for none."""
    truth = copy.deepcopy(TRUTH)
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    before = copy.deepcopy(truth)
    found = average_precision(truth, detections("perfect"), IMAGE_IDS, CATEGORIES, "mask")
    assert found.summary["ap"] == 1
    assert truth == before
