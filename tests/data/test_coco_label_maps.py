"""Label maps that are drawn from outlines."""

import json
import pickle

import numpy as np
import pytest

from common.data.coco_annotations import COCO_IDS
from common.data.label_map_transform import TrainLabelMap
from common.data.label_maps import make_label_map_source
from common.data.rle import encode_rle
from common.errors import UserError
from tests.data.detection_folders import HEIGHT, WIDTH, annotation, folder, image
from tests.data.label_map_folders import photo


def rectangle(x1: int, y1: int, x2: int, y2: int) -> dict:
    outline = [x1, y1, x2, y1, x2, y2, x1, y2]
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [outline], "area": 1.0}


def make(root, **fields):
    return make_label_map_source("coco", root=str(root), **fields)


def test_ones_own(tmp_path):
    """The smaller of two objects is seen, in whatever order they come."""
    large, small = rectangle(0, 0, 20, 20), rectangle(5, 5, 10, 10)
    images = [image(5), image(6, "b.jpg")]
    objects = [annotation(1, 5, 7) | small, annotation(2, 5, 3) | large]
    source = pickle.loads(pickle.dumps(make(folder(tmp_path, objects, images))))
    assert source.class_names == ["background", "cat", "dog"] and source.palette.shape == (3, 3)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:20, :20] = 1
    expected[5:10, 5:10] = 2
    example = source[0]
    assert example["label_map"].dtype == np.uint8 and (example["label_map"] == expected).all()
    assert not source[1]["label_map"].any() and source.name(1) == source[1]["name"] == "b.jpg"
    batch = TrainLabelMap(size=16)(example, np.random.default_rng(0))
    assert batch["label_map"].shape == (16, 16)
    parts = [make(tmp_path, split=split, holdout=0.5) for split in ("train", "val")]
    assert [len(part) for part in parts] == [1, 1]


def test_label_studio_counts_categories_from_zero(tmp_path):
    """As its converter writes polygons: backslashes, ids from 0, `ignore`."""
    photo(tmp_path / "images/0a1b2c3d-a.jpg", (HEIGHT, WIDTH))
    row = annotation(0, 0, 0, ignore=0) | rectangle(10, 5, 20, 15)
    data = {
        "images": [image(0, "images\\0a1b2c3d-a.jpg")],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [row],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }
    (tmp_path / "result.json").write_text(json.dumps(data, indent=2))
    source = make(tmp_path)
    assert source.class_names == ["background", "cat", "dog"]
    assert (source[0]["label_map"][5:15, 10:20] == 1).all() and source[0]["label_map"].sum() == 100


def test_cocos_own_categories_keep_their_ids(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:3] = True
    runs = {"segmentation": encode_rle(mask), "iscrowd": 1, "bbox": [0, 0, WIDTH, 3]}
    objects = [annotation(1, 5, 90), annotation(2, 5, 1) | runs]
    categories = [{"id": number, "name": f"name {number}"} for number in COCO_IDS[::-1]]
    source = make(folder(tmp_path, objects, categories=categories))
    assert len(source.class_names) == 91 == len(source.palette)
    assert [source.class_names[i] for i in (0, 1, 12, 13, 90)] == [
        "background",
        "name 1",
        "unused 12",
        "name 13",
        "name 90",
    ]
    label_map = source[0]["label_map"]
    assert np.unique(label_map).tolist() == [0, 1, 90] and (label_map[:3] == 1).all()


def test_what_cannot_be_drawn(tmp_path):
    objects = [annotation(), annotation(2, segmentation=[])]
    with pytest.raises(UserError, match=r"from outlines: .*1 of all 2 have none\); draw them"):
        make(folder(tmp_path, objects))
    with pytest.raises(UserError, match="classes='a' has no use"):
        make(tmp_path, classes="a")
    categories = [{"id": i, "name": str(i)} for i in range(255)]
    with pytest.raises(UserError, match="256 classes; label maps have at most 255"):
        make(folder(tmp_path, [annotation()], categories=categories))
    folder(tmp_path)
    (tmp_path / "images/a.jpg").write_text("?")
    with pytest.raises(UserError, match=r"unreadable file.*a\.jpg"):
        make(tmp_path)
