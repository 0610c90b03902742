import json
import pickle

import numpy as np
import pytest

from common.data import coins
from common.data.coins import ANNOTATION, coin_strips, coins_source
from common.data.images import decode
from common.data.label_maps import make_label_map_source
from common.data.pairs import photos_source
from common.data.rle import bounding_box, decode_rle, encode_rle
from common.errors import UserError


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_rle_and_back(share):
    mask = np.random.RandomState(0).rand(7, 5) < share
    rle = json.loads(json.dumps(encode_rle(mask)))
    assert (decode_rle(rle) == mask).all()
    assert sum(rle["counts"]) == 35 and all(rle["counts"][1:])


def test_rle_runs_down_the_columns():
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert encode_rle(mask) == {"counts": [0, 2, 1, 1, 2], "size": [2, 3]}
    assert encode_rle(~mask) == {"counts": [2, 1, 1, 2], "size": [2, 3]}
    assert (decode_rle({"counts": [6], "size": [2, 3]}) == 0).all()
    assert bounding_box(mask[:, 1:]) == [0, 1, 1, 2]


@pytest.mark.parametrize("counts", [[2, 3], [7], [-1, 7], []])
def test_bad_runs(counts):
    with pytest.raises(UserError, match="are no mask of 3x2"):
        decode_rle({"counts": counts, "size": [2, 3]})
    with pytest.raises(UserError, match="compressed string"):
        decode_rle({"counts": "abc", "size": [2, 3]})


def test_annotation_is_as_coco_has_it():
    found = json.loads(ANNOTATION.read_text())
    (image,), rows = found["images"], found["annotations"]
    assert (image["height"], image["width"]) == (303, 384) and len(rows) == 24
    together = np.zeros((303, 384), int)
    for number, row in enumerate(rows, 1):
        mask = decode_rle(row["segmentation"])
        left, top, right, bottom = bounding_box(mask)
        assert row["bbox"] == [left, top, right - left, bottom - top]
        assert (row["id"], row["area"], row["iscrowd"]) == (number, mask.sum(), 0)
        assert row["image_id"] == image["id"] and row["category_id"] == found["categories"][0]["id"]
        # Nearly round, and whole.
        assert 0.7 < row["area"] / (row["bbox"][2] * row["bbox"][3]) < 0.83
        together += mask
    assert together.max() == 1


def test_outlines_lie_on_edges():
    """Within two pixels of every outline the coin is brighter than the ground."""
    train, test = coin_strips("train"), coin_strips("test")
    for strip in train + test:
        gray = strip.image[..., 0].astype(float)
        ground = ~strip.masks.any(0)
        for mask, (x1, y1, x2, y2) in zip(strip.masks, strip.boxes.astype(int), strict=True):
            around = np.zeros_like(mask)
            around[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = True
            assert gray[mask].mean() - gray[around & ground].mean() > 15


def test_strips():
    strips = {split: coin_strips(split) for split in ("train", "test")}
    assert [len(strips[split]) for split in ("train", "test")] == [3, 1]
    rows = {strip.name: strip for part in strips.values() for strip in part}
    assert sorted(rows) == [f"coins/row_{i}" for i in (1, 2, 3, 4)]
    whole = np.concatenate([rows[name].image for name in sorted(rows)])
    photos = photos_source("train")
    index = [photos.name(i) for i in range(len(photos))].index("coins.png")
    assert (whole == decode(photos[index]["target"])).all()  # nothing lost, nothing twice
    area = sum(int(strip.masks.sum()) for strip in rows.values())
    assert area == sum(row["area"] for row in json.loads(ANNOTATION.read_text())["annotations"])
    for strip in rows.values():
        assert strip.masks.shape == (6, *strip.image.shape[:2])
        assert (np.diff(strip.boxes[:, 0]) > 0).all()  # from left to right
        assert strip.boxes[0].tolist() == bounding_box(strip.masks[0])


def test_source():
    train, test = make_label_map_source("coins"), make_label_map_source("coins", split="val")
    assert (len(train), len(test)) == (3, 1)
    assert train.class_names == ["background", "coin"] and train.palette.shape == (2, 3)
    example = pickle.loads(pickle.dumps(test))[0]
    assert example["name"] == test.name(0) == "coins/row_3"
    assert example["label_map"].dtype == np.uint8
    assert example["label_map"].shape == example["image"].shape[:2]
    assert 0.2 < example["label_map"].mean() < 0.4
    with pytest.raises(UserError, match="no split 'tset'; did you mean 'test'"):
        coins_source("tset")


def test_another_photo(monkeypatch):
    monkeypatch.setattr(coins, "_photo", lambda: np.zeros((100, 50, 3), np.uint8))
    with pytest.raises(UserError, match="is 50x100, the annotated one 384x303"):
        coins_source("test")
