"""Where each data set has its images and label maps."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from common.data.class_lists import (
    voc_colours,
)
from common.errors import UserError
from tests.data.label_map_folders import (
    CLASSES,
    SIZE,
    cvat,
    folder,
    make,
    mask,
    names,
    photo,
    voc,
    voc_list,
)

# Layouts.


@pytest.mark.parametrize("above", ["", "ADEChallengeData2016"])
def test_ade20k(tmp_path, above):
    root = tmp_path / above
    values = np.array([[0, 1], [2, 150]], np.uint8)
    for split, name in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        photo(root / f"images/{split}/{name}.jpg", (2, 2))
        mask(root / f"annotations/{split}/{name}.png", values)
    source = make(tmp_path, "ade20k")
    assert names(source) == ["images/training/ADE_train_1.jpg"]
    assert source[0]["label_map"].tolist() == [[255, 0], [1, 149]]
    assert source[0]["label_map"].dtype == np.uint8
    assert source[0]["image"] == (root / source.name(0)).read_bytes()
    for split in ("val", "validation", "eval"):
        assert names(make(tmp_path, "ade20k", split=split)) == ["images/validation/ADE_val_1.jpg"]
    with pytest.raises(UserError, match=r"no split 'vall' in .*did you mean 'val'"):
        make(tmp_path, "ade20k", split="vall")
    mask(root / "annotations/training/ADE_train_1.png", values + np.uint8(1))
    with pytest.raises(UserError, match=r"value 151 at \(1, 1\), 25.00% .* valid: 0-150, 255"):
        make(tmp_path, "ade20k")


def test_ade20k_names_come_from_its_own_file(tmp_path):
    photo(tmp_path / "images/training/1.jpg")
    mask(tmp_path / "annotations/training/1.png")
    known = make(tmp_path, "ade20k").class_names
    assert known[:2] == ["wall", "building"] and known[-1] == "flag"
    rows = [f"{i}\t0.1\t5\t6\tname {i}, other name" for i in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))
    assert make(tmp_path, "ade20k").class_names == [f"name {i}" for i in range(1, 151)]


@pytest.mark.parametrize("inside", ["", "VOCdevkit/VOC2012"])
def test_voc(tmp_path, inside):
    root = tmp_path / inside
    voc(root, values=np.array([[0, 20], [255, 15]], np.uint8).repeat(3, 0).repeat(4, 1))
    photo(root / "JPEGImages/unlabelled.jpg")
    voc_list(root, "train", "2007_1\n")
    voc_list(root, "val", "2007_2\n\n")
    voc_list(root, "trainval", "2007_1\n2007_2\n")
    source = make(tmp_path, "voc")
    assert names(source) == ["JPEGImages/2007_1.jpg"]
    assert source[0]["label_map"][::3, ::4].tolist() == [[0, 20], [255, 15]]
    assert source.class_names[20] == "tvmonitor" and source.palette[15].tolist() == [192, 128, 128]
    assert names(make(tmp_path, "voc", split="eval")) == ["JPEGImages/2007_2.jpg"]
    assert len(make(tmp_path, "voc", split="trainval")) == 2
    with pytest.raises(UserError, match=r"no list trainvall\.txt in .*did you mean 'trainval'"):
        make(tmp_path, "voc", split="trainvall")
    voc_list(root, "val", "2007_3\n")
    with pytest.raises(UserError, match=r"listed file that is missing.*2007_3\.jpg.*2007_3\.png"):
        make(tmp_path, "voc", split="val")
    voc_list(root, "val", "\n")
    with pytest.raises(UserError, match=r"val\.txt is empty"):
        make(tmp_path, "voc", split="val")


@pytest.mark.parametrize(
    "text", ["2007_1\n", "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n"]
)
def test_voc_augmented_lists(tmp_path, text):
    voc(tmp_path, values=1)
    mask(tmp_path / "SegmentationClassAug/2007_1.png", 7)  # gray, as those usually are
    voc_list(tmp_path, "train_aug", text)
    source = make(tmp_path, "voc", split="train_aug")
    assert names(source) == ["JPEGImages/2007_1.jpg"]
    assert (source[0]["label_map"] == 7).all()


def test_voc_reads_coloured_files(tmp_path):
    voc(tmp_path, stems=("a",))
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:3], pixels[3, 0] = voc_colours(21)[15], (224, 224, 192)
    Image.fromarray(pixels).save(tmp_path / "SegmentationClass/a.png")
    label_map = make(tmp_path, "voc")[0]["label_map"]
    assert (label_map[:3] == 15).all() and label_map[3, 0] == 255 and label_map[3, 1] == 0


@pytest.mark.parametrize("ending", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, ending):
    values = [[7, 33], [0, 26]] if ending == "labelIds" else [[0, 18], [255, 13]]
    for split, city in (("train", "ulm"), ("val", "lindau")):
        stem = f"{split}/{city}/{city}_000000_000019"
        photo(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png", (2, 2))
        mask(tmp_path / f"gtFine/{stem}_gtFine_{ending}.png", np.array(values, np.uint8))
        mask(tmp_path / f"gtFine/{stem}_gtFine_instanceIds.png", np.zeros((2, 2), np.uint16))
    source = make(tmp_path, "cityscapes")
    assert names(source) == ["leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"]
    assert source[0]["label_map"].tolist() == [[0, 18], [255, 13]]
    assert source.class_names[13] == "car" and source.palette[13].tolist() == [0, 0, 142]
    assert names(make(tmp_path, "cityscapes", split="eval"))[0].split("/")[1] == "val"
    os.remove(tmp_path / f"gtFine/val/lindau/lindau_000000_000019_gtFine_{ending}.png")
    with pytest.raises(UserError, match=r"expected .*_gtFine_labelIds\.png or .*labelTrainIds"):
        make(tmp_path, "cityscapes", split="val")


@pytest.mark.parametrize("pattern", ["{split}/{kind}", "{kind}/{split}"])
def test_folder_with_splits(tmp_path, pattern):
    (tmp_path / "classes.txt").write_text(CLASSES)
    for i, split in enumerate(("train", "test")):
        for kind, save, suffix in (("images", photo, "jpg"), ("masks", mask, "png")):
            path = pattern.format(split=split, kind=kind)
            save(tmp_path / path / f"deep/{i}.{suffix}")
    images = [pattern.format(split=s, kind="images") for s in ("train", "test")]
    assert names(make(tmp_path)) == [f"{images[0]}/deep/0.jpg"]
    assert names(make(tmp_path, split="test")) == [f"{images[1]}/deep/1.jpg"]
    with pytest.raises(UserError, match=r"no split 'tst'.*did you mean 'test'"):
        make(tmp_path, split="tst")
    with pytest.raises(UserError, match=r"has .*test.* but no .*training.*train_split"):
        make(tmp_path, split="test", train_split="training")


def test_folder_without_splits(tmp_path):
    folder(tmp_path, count=4)
    assert names(make(tmp_path)) == names(make(tmp_path, split="val"))
    assert len(make(tmp_path, split="")) == 4
    source = make(tmp_path)
    assert source.class_names == ["sky", "sea", "land"]
    assert source.palette.shape == (3, 3) and source.palette.dtype == np.uint8
    again = pickle.loads(pickle.dumps(source))
    assert names(again) == names(source) and again[1]["image"] == source[1]["image"]
    with pytest.raises(UserError, match=r"no split 'vall'.*did you mean 'val'"):
        make(tmp_path, split="vall", holdout=0.3)


@pytest.mark.parametrize("kind", ["folder", "voc"])
def test_cvat_export(tmp_path, kind):
    cvat(tmp_path)
    source = make(tmp_path, kind)
    assert source.class_names == ["background", "cat", "dog"]
    assert source.palette.tolist() == [[0, 0, 0], [250, 50, 83], [61, 61, 245]]
    assert names(source)[:2] == ["JPEGImages/frame 0.jpg", "JPEGImages/frame 1.png"]
    assert np.bincount(source[1]["label_map"].ravel()).tolist() == [40, 0, 8]
    parts = [names(make(tmp_path, kind, split=s, holdout=0.3)) for s in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == names(source) and all(parts)


def test_cvat_project_with_subsets_and_without_images(tmp_path):
    cvat(tmp_path)
    lists = tmp_path / "ImageSets/Segmentation"
    (lists / "default.txt").rename(lists / "Train.txt")
    voc_list(tmp_path, "Validation", "frame 5\n")
    assert names(make(tmp_path, split="val")) == ["JPEGImages/frame 5.png"]
    assert len(make(tmp_path)) == 6
    (tmp_path / "JPEGImages").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no folder .*JPEGImages.*Save images"):
        make(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "JPEGImages")
    os.remove(tmp_path / "labelmap.txt")
    with pytest.raises(UserError, match=r"no classes\.txt in"):
        make(tmp_path)


@pytest.mark.parametrize("place", ["", "masks"])
@pytest.mark.parametrize("classes", [None, CLASSES])
def test_label_studios_brush_labels_as_pictures(tmp_path, place, classes):
    """Names that say no image, wherever they were put."""
    photo(tmp_path / "images/0a1b2c3d-a.jpg")
    mask(tmp_path / place / "task-7-annotation-9-by-ann@host.org-tag-Leaf-0.png", 255)
    if classes:
        (tmp_path / "classes.txt").write_text(classes)
    with pytest.raises(UserError, match=r"task-7-.*-0\.png is of Label Studio's.*labels to COCO"):
        make(tmp_path)
