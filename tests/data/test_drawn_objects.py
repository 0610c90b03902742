"""Shapes and coins as examples of detection."""

import copy
import pickle

import pytest
from pycocotools.coco import COCO

from common.data.detection import make_detection_source
from common.data.rle import bounding_box, decode_rle
from common.data.shapes import shapes_source
from common.errors import UserError


@pytest.mark.parametrize(
    ("kind", "classes", "lengths"),
    [("shapes", ["ellipse", "rectangle", "triangle"], (12, 12)), ("coins", ["coin"], (3, 1))],
)
def test_sources(kind, classes, lengths):
    for split, length in zip(("train", "val"), lengths, strict=True):
        source = make_detection_source(kind, split=split, count=12, size=64)
        source = pickle.loads(pickle.dumps(source))
        assert source.class_names == classes and len(source) == length and source.has_masks
        assert source.category_ids == [*range(1, len(classes) + 1)]
        truth = COCO()
        truth.dataset = copy.deepcopy(source.ground_truth())
        truth.createIndex()
        for i in range(length):
            example = source[i]
            assert example["image_id"] == i + 1 and example["name"] == source.name(i)
            assert example["image"].shape[:2] == tuple(source.sizes[i])
            rows = truth.imgToAnns[i + 1]
            assert len(rows) == len(example["labels"]) == len(example["masks"])
            for row, box, label, mask in zip(
                rows, example["boxes"], example["labels"], example["masks"], strict=True
            ):
                assert box.tolist() == bounding_box(mask)
                x1, y1, x2, y2 = box.tolist()
                assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1] and row["area"] == mask.sum()
                assert row["category_id"] == label + 1
                assert (decode_rle(row["segmentation"]) == mask).all()
        with pytest.raises(IndexError):
            source[length]


def test_labels_are_the_scenes_without_the_background():
    source, scenes = (
        make_detection_source("shapes", count=9, size=64),
        shapes_source("train", 9, 64),
    )
    for i in range(9):
        assert (source[i]["labels"] == scenes.scene(i).classes - 1).all()
        assert (source[i]["masks"] == scenes.scene(i).masks).all()


def test_wrong_split():
    with pytest.raises(UserError, match=r"no split 'tset' in shapes.*did you mean 'test'"):
        make_detection_source("shapes", split="tset")
