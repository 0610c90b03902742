"""The report of a detection evaluation: its files and the numbers in them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from common.metrics.detection import DetectionEvaluator
from maxvit_jax.detection_report import write_detection_report
from tests.metrics.test_average_precision import CATEGORIES, IMAGE_IDS, STORED, TRUTH
from tests.metrics.test_detection import batch_of


def photo(image_id):
    return np.full((128, 160, 3), 40 + image_id, np.uint8)


def rows_of(path):
    with path.open() as file:
        return {row["class"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=True)
    outputs, batch = batch_of(IMAGE_IDS)
    outputs["masks"] = np.ones((*outputs["scores"].shape, 28, 28), np.float32)
    evaluator.update(outputs, batch)
    folder = tmp_path_factory.mktemp("report")
    return folder, evaluator, write_detection_report(folder, evaluator, photo)


def test_detections_are_cocos_results(report):
    folder, evaluator, _ = report
    found = json.loads((folder / "detections.json").read_text())
    assert found == evaluator.results()
    assert len(found) == len(STORED["cases"]["good"]["detections"])


def test_tables_hold_what_was_measured(report):
    folder, evaluator, lines = report
    classes, errors = rows_of(folder / "classes.csv"), rows_of(folder / "errors.csv")
    measured = evaluator.average_precision()
    assert list(classes) == ["ellipse", "rectangle", "triangle"]
    objects = [a for a in TRUTH["annotations"] if not a["iscrowd"]]
    for k, (name, row) in enumerate(classes.items()):
        assert float(row["box_ap"]) == pytest.approx(measured["box"].ap[k])
        assert float(row["mask_ap50"]) == pytest.approx(measured["mask"].ap50[k])
        count = sum(a["category_id"] == CATEGORIES[k] for a in objects)
        assert int(row["objects"]) == count
        assert int(errors[name]["correct"]) + int(errors[name]["missed"]) == count
    for column in ("correct", "background", "missed"):
        total = sum(int(errors[name][column]) for name in classes)
        assert int(errors["all"][column]) == total > 0
    assert f"{errors['all']['correct']} correct" in lines[0]


def test_pictures_and_page_are_there(report):
    folder, evaluator, _ = report
    for name in ("worst", "best", "precision_recall"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 3
    assert f"{evaluator.compute()['box_ap']:.4f}" in html and "-1.0" not in html
    assert "<td>box_ap_large</td><td>-</td>" in html  # there are no large objects


def test_boxes_alone_without_any_detection(tmp_path):
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    outputs, batch = batch_of(IMAGE_IDS[:2])
    evaluator.update(outputs | {"classes": np.full_like(outputs["classes"], -1)}, batch)
    (line,) = write_detection_report(tmp_path, evaluator, photo)
    assert "0 correct" in line
    assert json.loads((tmp_path / "detections.json").read_text()) == []
    assert "mask_ap" not in (tmp_path / "report.html").read_text()
