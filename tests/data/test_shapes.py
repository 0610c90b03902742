import pickle

import numpy as np
import pytest

from common.data.label_map_transform import TrainLabelMap
from common.data.label_maps import make_label_map_source
from common.data.shapes import CLASS_NAMES, photo_textures, scene, shapes_source
from common.errors import UserError

SIZE = 96


@pytest.fixture(scope="module")
def scenes():
    return [shapes_source("train", size=SIZE).scene(i) for i in range(60)]


def test_everything_agrees(scenes):
    for drawn in scenes:
        count = len(drawn.classes)
        assert 1 <= count <= 4
        assert drawn.image.shape == (SIZE, SIZE, 3) and drawn.image.dtype == np.uint8
        assert drawn.masks.shape == (count, SIZE, SIZE) and drawn.masks.dtype == bool
        assert drawn.boxes.shape == (count, 4) and drawn.boxes.dtype == np.float32
        assert (drawn.masks.sum(0) <= 1).all()  # visible parts don't overlap
        painted = (drawn.masks * drawn.classes[:, None, None]).sum(0)
        assert (painted == drawn.label_map).all() and drawn.label_map.dtype == np.uint8
        for mask, box in zip(drawn.masks, drawn.boxes, strict=True):
            rows, columns = np.nonzero(mask)
            exact = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert box.tolist() == list(exact)


def test_classes_and_numbers_vary(scenes):
    counts = np.bincount([len(drawn.classes) for drawn in scenes], minlength=5)
    assert (counts[1:] > 2).all()
    classes = np.bincount(np.concatenate([drawn.classes for drawn in scenes]))
    assert classes[0] == 0 and (classes[1:] > 30).all()


def test_shapes_are_what_they_are_called(scenes):
    """Of the circle around a shape's middle: what each kind fills, as long as it isn't hidden."""
    filled = {1: [], 2: [], 3: []}
    for drawn in scenes:
        if len(drawn.classes) > 1:
            continue
        rows, columns = np.nonzero(drawn.masks[0])
        points = np.stack([columns, rows], -1) - np.array([columns.mean(), rows.mean()])
        values, axes = np.linalg.eigh(np.cov(points.T))
        # In units of the spread along each axis, an ellipse is a disc of radius 2.
        radius = np.linalg.norm(points @ axes / np.sqrt(values), axis=-1).max()
        filled[int(drawn.classes[0])].append(radius)
    assert all(filled.values())
    assert np.allclose(filled[1], 2.0, atol=0.15)
    assert np.allclose(filled[2], np.sqrt(6), atol=0.2)
    assert np.min(filled[3]) > 2.65


def test_later_objects_hide_earlier_ones_but_never_whole(scenes):
    hidden = 0
    for drawn in scenes:
        for mask, box in zip(drawn.masks, drawn.boxes, strict=True):
            x1, y1, x2, y2 = box.astype(int)
            assert min(x2 - x1, y2 - y1) >= SIZE / 16 and mask.sum() >= 30
        first = drawn.masks[0]
        x1, y1, x2, y2 = drawn.boxes[0].astype(int)
        hidden += (drawn.masks[1:].any(0) & ~first)[y1:y2, x1:x2].any()
    assert hidden > 15


def test_shapes_stand_out(scenes):
    for drawn in scenes:
        ground = drawn.image[drawn.label_map == 0].mean(0)
        for mask in drawn.masks:
            assert np.linalg.norm(drawn.image[mask].mean(0) - ground) > 40


def test_scenes_depend_on_seed_and_index_alone():
    textures = photo_textures("train")
    first = scene(0, 5, SIZE, textures)
    scene(0, 6, SIZE, textures)
    for a, b in zip(first, scene(0, 5, SIZE, textures), strict=True):
        assert (a == b).all()
    for other in (scene(1, 5, SIZE, textures), scene(0, 4, SIZE, textures)):
        assert (other.image != first.image).any() and (other.label_map != first.label_map).any()
    source = shapes_source("train", count=10, size=SIZE)
    assert (source[5]["image"] == first.image).all()
    assert (pickle.loads(pickle.dumps(source))[5]["image"] == first.image).all()
    assert len(pickle.dumps(source)) < 2000  # textures don't travel


def test_source():
    source = make_label_map_source("shapes", split="test", count=4, size=64)
    assert source.class_names == list(CLASS_NAMES) and source.palette.shape == (4, 3)
    assert len(source) == 4 and source.name(3) == source[3]["name"] == "shapes/test/00003"
    with pytest.raises(IndexError):
        source[4]
    batch = TrainLabelMap(size=64)(source[0], np.random.default_rng(0))
    assert batch["image"].shape == (64, 64, 3)
    train = make_label_map_source("shapes", count=4, size=64)
    assert (train[0]["image"] != source[0]["image"]).any()
    assert [len(make_label_map_source("shapes", split=s)) for s in ("train", "val")] == [2000, 200]
    assert make_label_map_source("shapes")[0]["label_map"].shape == (128, 128)


def test_textures_of_the_splits_differ():
    train, test = photo_textures("train"), photo_textures("test")
    assert len(train) == 12 and len(test) == 3


@pytest.mark.parametrize("size", [32, 500])
def test_sizes(size):
    drawn = shapes_source("test", size=size).scene(1)
    assert drawn.image.shape == (size, size, 3) and len(drawn.classes)


def test_wrong_arguments():
    with pytest.raises(UserError, match="no split 'tst'; did you mean 'test'"):
        shapes_source("tst")
    with pytest.raises(UserError, match=r"no split 'tset' in shapes.*did you mean 'test'"):
        make_label_map_source("shapes", split="tset")
    with pytest.raises(UserError, match="nearest valid: 32"):
        shapes_source("test", size=8)
    with pytest.raises(UserError, match="nearest valid: 1024"):
        shapes_source("test", size=5000)
    with pytest.raises(UserError, match="0 scenes"):
        shapes_source("test", count=0)
