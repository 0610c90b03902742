"""Collected detections: mapped back to the image, each image once, and measured."""

import copy
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from common.coco_tools import decoded_mask
from common.detections import Detections, coco_results, in_original_pixels
from common.errors import UserError
from common.metrics.average_precision import SUMMARY, average_precision
from common.metrics.detection import DetectionEvaluator
from tests.metrics.test_average_precision import (
    CATEGORIES,
    IMAGE_IDS,
    STORED,
    TRUTH,
    detections,
)

HEIGHT, WIDTH = 128, 160
SCALE = np.array([1.5, 1.25], np.float32)  # y, x


def batch_of(image_ids, name="good", mask=None):
    """What a network at another size would say: the stored boxes, padded to 20 objects."""
    count = len(image_ids)
    outputs = {
        "boxes": np.zeros((count, 20, 4), np.float32),
        "scores": np.zeros((count, 20), np.float32),
        "classes": np.full((count, 20), -1, np.int32),
    }
    for i, image_id in enumerate(image_ids):
        found = [d for d in detections(name) if d["image_id"] == image_id]
        for j, d in enumerate(found):
            x, y, w, h = d["bbox"]
            outputs["boxes"][i, j] = np.multiply([x, y, x + w, y + h], np.tile(SCALE[::-1], 2))
            outputs["scores"][i, j], outputs["classes"][i, j] = d["score"], d["category_id"] - 1
    batch = {
        "image_id": np.array(image_ids, np.int32),
        "scale": np.tile(SCALE, (count, 1)),
        "original_size": np.tile(np.array([HEIGHT, WIDTH], np.int32), (count, 1)),
        "mask": np.ones(count, np.float32) if mask is None else np.array(mask, np.float32),
    }
    return outputs, batch


def test_batches_give_the_stored_numbers():
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    for part in np.array_split(IMAGE_IDS, 5):
        evaluator.update(*batch_of(part))
    metrics = evaluator.compute()
    assert set(metrics) == set(evaluator.metrics)
    assert metrics["examples"] == len(IMAGE_IDS)
    stored = STORED["cases"]["good"]["metrics"]["bbox"].values()
    for name, value in zip(SUMMARY, stored, strict=True):
        if value >= 0:
            assert metrics[f"box_{name}"] == pytest.approx(value, rel=1e-6), name


def test_padding_and_repeated_images_count_once():
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    evaluator.update(*batch_of(IMAGE_IDS))
    expected, results = evaluator.compute(), evaluator.results()
    evaluator.update(*batch_of(IMAGE_IDS[:4], "poor"))  # a repeat changes nothing, whatever it says
    assert evaluator.compute() == pytest.approx(expected, nan_ok=True)
    assert evaluator.results() == results
    padded = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    padded.update(*batch_of(IMAGE_IDS[:2], mask=[1, 0]))
    assert list(padded.detections) == IMAGE_IDS[:1] and padded.compute()["examples"] == 1


def test_masks_are_measured_by_their_own_area():
    """Small and large masks are small and large by their pixels, as in results without boxes."""
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=True)
    for image_id in IMAGE_IDS:
        found = [d for d in detections("poor") if d["image_id"] == image_id]
        boxes = np.array([d["bbox"] for d in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        classes = np.array([d["category_id"] - 1 for d in found], np.int64)
        scores, masks = np.array([d["score"] for d in found]), [d["segmentation"] for d in found]
        evaluator.add(image_id, Detections(boxes, scores, classes, masks))
    metrics = evaluator.compute()
    stored = STORED["cases"]["poor"]["metrics"]["segm"]
    assert metrics["mask_ap"] == pytest.approx(stored["AP"], rel=1e-9)
    bare = [{k: v for k, v in d.items() if k != "bbox"} for d in detections("poor")]
    expected = average_precision(TRUTH, bare, IMAGE_IDS, CATEGORIES, "mask").summary
    assert expected["ap_small"] != stored["APs"]
    assert metrics["mask_ap_small"] == pytest.approx(expected["ap_small"], rel=1e-9)


def test_boxes_return_to_original_pixels():
    """A photo of 333 x 500 at 533 x 800: its size was rounded, so that the factors differ."""
    scale = np.array([533 / 333, 800 / 500], np.float32)
    expected = np.array([[10, 20, 110, 220], [450, 300, 500, 333], [0, 0, 500, 333.0]])
    resized = np.float32(expected * np.tile(scale[::-1], 2))
    resized[1, 2:] += 40  # into the padding
    outputs = {
        "boxes": np.concatenate([resized, [[810, 10, 830, 40], [0, 0, 0, 0]]]).astype(np.float32),
        "scores": np.array([0.9, 0.8, 0.7, 0.6, 0], np.float32),
        "classes": np.array([2, 0, 1, 1, -1], np.int32),
    }
    found = in_original_pixels(outputs, scale, np.array([333, 500], np.int32))
    np.testing.assert_allclose(found.boxes, expected, atol=1e-3)
    assert found.classes.tolist() == [2, 0, 1]  # neither padding nor a box beside the image
    assert found.above(0.75).classes.tolist() == [2, 0]


def test_masks_and_results_are_those_of_coco():
    """A box that reaches beyond the image keeps its mask's shape: half of a disk's mask is left."""
    y, x = np.mgrid[:28, :28]
    disk = (np.hypot(y - 13.5, x - 13.5) < 14).astype(np.float32)
    outputs = {
        "boxes": np.array([[-40, 10, 40, 90]], np.float32),
        "scores": np.array([0.5], np.float32),
        "classes": np.array([1], np.int32),
        "masks": disk[None],
    }
    found = in_original_pixels(outputs, np.ones(2, np.float32), np.array([100, 100]))
    (result,) = coco_results({7: found}, [11, 12])
    assert result["image_id"] == 7 and result["category_id"] == 12 and result["score"] == 0.5
    assert result["bbox"] == [0, 10, 40, 80]
    area = coco_mask.area(result["segmentation"])
    assert area == pytest.approx(np.pi * 40**2 / 2, rel=0.02)
    edge = decoded_mask(result["segmentation"], 100, 100)[:, 0]
    assert edge.sum() == pytest.approx(80, abs=4)  # the disk's middle


def test_copies_share_the_truth_alone():
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    copied = copy.deepcopy(evaluator)
    evaluator.update(*batch_of(IMAGE_IDS[:1]))
    assert copied.ground_truth is TRUTH and not copied.detections


def test_nothing_found_is_zero():
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    outputs, batch = batch_of(IMAGE_IDS)
    evaluator.update(outputs | {"classes": np.full_like(outputs["classes"], -1)}, batch)
    assert evaluator.compute()["box_ap"] == 0


def test_what_cannot_be_measured_is_said():
    evaluator = DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
    with pytest.raises(UserError, match="no image was evaluated"):
        evaluator.compute()
    outputs, batch = batch_of(IMAGE_IDS[:1])
    with pytest.raises(UserError, match="image 1 is not finite"):
        evaluator.update(outputs | {"scores": outputs["scores"] * np.nan}, batch)
    with pytest.raises(UserError, match="image 999 is not in the ground truth"):
        evaluator.update(outputs, batch | {"image_id": np.array([999])})
    bare = [{k: v for k, v in a.items() if k != "segmentation"} for a in TRUTH["annotations"]]
    with pytest.raises(UserError, match="annotation 1 of image 1 has no mask"):
        DetectionEvaluator(TRUTH | {"annotations": bare}, CATEGORIES, masks=True)


def test_a_missing_pycocotools_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(UserError, match=r"pip install 'multi-axis-jax\[detection\]'"):
        DetectionEvaluator(TRUTH, CATEGORIES, masks=False)
