"""Label maps that are drawn from outlines."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.data.coco_annotations import COCO_IDS
from common.data.label_map_transform import TrainLabelMap
from common.data.label_maps import make_label_map_source
from common.data.rle import encode_rle
from common.errors import UserError
from tests.data.detection_folders import HEIGHT, WIDTH, annotation, folder, image
from tests.data.label_map_folders import folder as own_folder
from tests.data.label_map_folders import label_studio


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


def test_label_studio(tmp_path):
    """As it exports "COCO with Images": ids from 0, `ignore`, names of files that were uploaded."""
    label_studio(tmp_path)
    for kind in ("folder", "coco"):
        source = make_label_map_source(kind, root=str(tmp_path))
        assert source.class_names == ["background", "cat", "dog"] and len(source) == 4
        label_map = source[0]["label_map"]
        assert (label_map[5:15, 10:20] == 1).all() and (label_map == 1).sum() == 100
        assert (label_map == 2).sum() == 50 and not source[3]["label_map"].any()
    held_out = make_label_map_source("folder", root=str(tmp_path), split="val", holdout=0.3)
    assert 1 <= len(held_out) < 4


def test_label_studios_brush_labels(tmp_path):
    """As it exports "Brush labels to COCO": ids from 1, names without folders, and no images."""
    label_studio(tmp_path)
    data = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").unlink()
    for entry in data["images"]:
        entry["path"] = f"/data/upload/1/{Path(entry['file_name']).name}"
        entry["file_name"] = Path(entry["file_name"]).name
    for entry in data["categories"]:
        entry |= {"id": entry["id"] + 1, "supercategory": "", "color": "#122824", "metadata": {}}
    for entry in data["annotations"]:
        entry["category_id"] += 1
    (tmp_path / "result_coco.json").write_text(json.dumps(data))
    for file in (tmp_path / "images").iterdir():  # one's own photos are not called as uploads
        file.rename(file.with_name(file.name.partition("-")[2]))
    source = make_label_map_source("folder", root=str(tmp_path))
    assert source.name(0) == "photo 0.jpg" and (source[0]["label_map"] == 1).sum() == 100
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(UserError, match=r"no images in .*images, which .*result_coco\.json"):
        make_label_map_source("folder", root=str(tmp_path))


def test_a_list_of_classes_means_label_maps(tmp_path):
    own_folder(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    source = make_label_map_source("folder", root=str(tmp_path))
    assert source.class_names == ["sky", "sea", "land"]


def test_what_is_left_out_is_said(tmp_path, caplog):
    objects = [annotation(), annotation(2, category=9)]
    with caplog.at_level("WARNING"):
        make(folder(tmp_path, objects))
    assert "left out" in caplog.text and "unknown category" in caplog.text


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
