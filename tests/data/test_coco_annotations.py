"""COCO's JSON in the layouts of several tools: files, ids, parts, what is wrong."""

import copy
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from common.data.detection import make_detection_source
from common.data.images import CorruptImage
from common.data.rle import encode_rle
from common.data.trailing_paths import TrailingPaths
from common.errors import UserError
from tests.data.detection_folders import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    annotation,
    folder,
    image,
    make,
    write,
)
from tests.data.label_map_folders import photo

MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[5:15, 10:20] = True


def official(root):
    """The layout of the download, with a crowd and an image without objects."""
    for split, count in (("train2017", 3), ("val2017", 2)):
        images = [image(10 + i, f"{i:012}.jpg") for i in range(count)]
        for entry in images:
            photo(root / split / entry["file_name"], (HEIGHT, WIDTH))
        objects = [
            annotation(900100000001, 11, 3, iscrowd=1, segmentation=encode_rle(MASK)),
            annotation(42, 10, 7, bbox=[30, 20, 10.5, 10], area=55.5),
            annotation(41, 10, 3),
        ]
        write(root / f"annotations/instances_{split}.json", objects, images)
    return root


def test_official_layout(tmp_path):
    source = pickle.loads(pickle.dumps(make(official(tmp_path), split="train2017")))
    assert source.class_names == ["cat", "dog"] and source.category_ids == [3, 7]
    assert len(source) == 3 and source.has_masks and not source.problems
    example = source[0]
    assert {key: (value.dtype.name, value.shape) for key, value in list(example.items())[1:4]} == {
        "boxes": ("float32", (2, 4)),
        "labels": ("int64", (2,)),
        "crowd": ("bool", (2,)),
    }
    # The half pixel beyond the image is rounding, not a fault.
    assert example["boxes"].tolist() == [[30, 20, 40, 30], [10, 5, 20, 15]]
    assert example["labels"].tolist() == [1, 0] and not example["crowd"].any()
    assert (example["masks"][1] == MASK).all() and example["masks"].shape == (2, HEIGHT, WIDTH)
    assert example["image_id"] == 10 and example["name"] == source.name(0) == "000000000000.jpg"
    assert source[1]["crowd"].tolist() == [True] and (source[1]["masks"][0] == MASK).all()
    empty = source[2]
    assert empty["boxes"].shape == (0, 4) and empty["masks"].shape == (0, HEIGHT, WIDTH)
    assert source.summary == (
        "3 images, 1 of them without objects; 3 objects of 2 classes, with masks, 1 of them crowds"
    )
    assert len(make(tmp_path, split="val")) == 2  # val2017
    for index in (3, -4):
        with pytest.raises(IndexError):
            source[index]
    boxes = make(tmp_path, masks=False)
    assert not boxes.has_masks and "masks" not in boxes[0]


def test_ground_truth_is_the_file(tmp_path):
    """All numbers are those of the data, as pycocotools reads them."""
    source = make(official(tmp_path))
    truth = source.ground_truth()
    theirs = COCO(str(tmp_path / "annotations/instances_train2017.json"))
    assert truth["images"] == theirs.dataset["images"]
    assert truth["categories"] == sorted(CATEGORIES, key=lambda category: category["id"])
    by_id = {row["id"]: row for row in theirs.dataset["annotations"]}
    assert len(by_id) == len(truth["annotations"]) == 3
    for row in truth["annotations"]:
        assert row == by_id[row["id"]]
    ours = COCO()
    ours.dataset = copy.deepcopy(truth)
    ours.createIndex()
    for number in by_id:
        theirs_mask = theirs.annToRLE(theirs.anns[number])
        assert ours.annToRLE(ours.anns[number]) == theirs_mask


def test_label_studio(tmp_path):
    """Ids from 0, sizes that may be missing, objects without outlines, folders of its own."""
    names = ["images/2.png", "..\\..\\label-studio\\data\\media\\upload\\1\\1b2c3d4e-1.png"]
    images = [image(i, name, height=None, width=None) for i, name in enumerate(names)]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    objects = [
        annotation(0, 1, 0, segmentation=[], ignore=0),
        annotation(1, 0, 1, segmentation=[], ignore=0),
    ]
    for i in (1, 2):
        photo(tmp_path / f"images/{i}.png", (HEIGHT, WIDTH))
    write(tmp_path / "result.json", objects, images, categories)
    source = make(tmp_path)
    assert source.category_ids == [0, 1] and not source.has_masks and not source.problems
    assert [source.name(i) for i in range(2)] == ["2.png", "1.png"]
    assert source.sizes.tolist() == [[HEIGHT, WIDTH]] * 2
    truth = source.ground_truth()
    # Id 0 would count as no object.
    assert [row["id"] for row in truth["annotations"]] == [2, 1]
    assert [row["image_id"] for row in truth["annotations"]] == [0, 1]
    assert [row["category_id"] for row in truth["annotations"]] == [1, 0]
    assert [row["file_name"] for row in truth["images"]] == names


def test_cvat(tmp_path):
    photo(tmp_path / "images/default/frame 1.png", (HEIGHT, WIDTH))
    runs = annotation(2, 1, 1, iscrowd=1, segmentation=encode_rle(MASK), attributes={"a": True})
    outline = annotation(1, 1, 1, attributes={"occluded": False})
    categories = [{"id": 1, "name": "cat", "supercategory": ""}]
    file = tmp_path / "annotations/instances_default.json"
    images = [image(1, "default/frame 1.png", license=0, height=0, width=0)]
    write(file, [outline, runs], images, categories)
    source = make(tmp_path)
    assert source.has_masks and source[0]["crowd"].tolist() == [False, True]
    write(file, [runs], images, categories)
    with pytest.raises(UserError, match=r"every object in .* is a crowd .*CVAT exports what a bru"):
        make(tmp_path)


def test_roboflow(tmp_path):
    """A group of all classes is listed as one; a split has its file beside the images."""
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    for split in ("train", "valid"):
        photo(tmp_path / split / f"{split}.jpg", (HEIGHT, WIDTH))
        file = tmp_path / split / "_annotations.coco.json"
        write(file, [annotation(0, 0, 2)], [image(0, f"{split}.jpg")], categories)
    train, valid = make(tmp_path), make(tmp_path, split="val")
    assert train.class_names == valid.class_names == ["cat", "dog"]
    assert valid.name(0) == "valid.jpg" and valid.category_ids == [1, 2]
    assert valid[0]["labels"].tolist() == [1]
    with pytest.raises(UserError, match=r"no split 'test' in .*choose from train, valid"):
        make(tmp_path, split="test")
    write(file, [annotation(0, 0, 0)], [image(0, "valid.jpg")], categories)
    assert make(tmp_path, split="val").class_names == ["pets", "cat", "dog"]


def test_own_files(tmp_path):
    for part in ("one", "two"):
        photo(tmp_path / f"photos/{part}/a.jpg", (HEIGHT, WIDTH))
        write(tmp_path / f"{part}.coco.json", [annotation()])
    fields = {"annotations": "{split}.coco.json", "images": "photos/{split}"}
    assert len(make(tmp_path, split="one", train_split="two", **fields)) == 1
    with pytest.raises(UserError, match=r"no annotations .*three\.coco\.json"):
        make(tmp_path, split="three", **fields)
    with pytest.raises(UserError, match=r"several: one\.coco\.json, two\.coco\.json; name one as"):
        make(tmp_path)
    with pytest.raises(UserError, match=r"no images in .*pics, which .*one\.coco\.json belongs to"):
        make(tmp_path, annotations="one.coco.json", images="pics")
    # Two folders have one of that name.
    with pytest.raises(UserError, match=r"no image of .*: a\.jpg \(one/a\.jpg, two/a\.jpg\)"):
        make(tmp_path, annotations="one.coco.json", images="photos")


def test_a_training_file_alone_is_not_the_held_out_part_too(tmp_path):
    photo(tmp_path / "images/a.jpg", (HEIGHT, WIDTH))
    write(tmp_path / "train.json", [annotation()])
    assert len(make(tmp_path)) == 1
    with pytest.raises(UserError, match=r"no split 'val' in .*choose from train"):
        make(tmp_path, split="val", holdout=0.5)


def test_held_out(tmp_path):
    images = [image(i, f"{i}.jpg") for i in range(20)]
    folder(tmp_path, [annotation(i + 1, i) for i in range(20)], images)
    parts = [make(tmp_path, split=split, holdout=0.3) for split in ("train", "val")]
    ids = [{part[i]["image_id"] for i in range(len(part))} for part in parts]
    assert not ids[0] & ids[1] and ids[0] | ids[1] == set(range(20)) and len(ids[1]) > 2
    for part in parts:
        for i in range(len(part)):  # objects go with their images
            assert part[i]["name"] == f"{part[i]['image_id']}.jpg" and len(part[i]["labels"]) == 1
        assert len(part.ground_truth()["annotations"]) == len(part)
    with pytest.raises(UserError, match=r"no split 'vla' .*did you mean 'val'"):
        make(tmp_path, split="vla", holdout=0.3)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("b/1.jpg", ["b/1.jpg"]),
        ("images/b/1.jpg", ["b/1.jpg"]),
        ("x\\b\\1.jpg", ["b/1.jpg"]),
        ("1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("c/2.jpg", ["a/2.jpg"]),
        ("https://host/a%20b/2.jpg?token=1", ["a/2.jpg"]),
        ("/data/local-files/?d=photos/b/1.jpg", ["b/1.jpg"]),
        ("0a1b2c3d-2.jpg", ["a/2.jpg"]),
        ("http://[/2.jpg", ["a/2.jpg"]),
        ("../../etc/passwd", []),
        ("/", []),
    ],
)
def test_names_of_files(name, found):
    assert TrailingPaths(["a/1.jpg", "b/1.jpg", "a/2.jpg"]).find(name) == found


def test_files_that_are_missing_or_unreadable(tmp_path):
    images = [image(i, f"{i}.jpg") for i in range(4)]
    folder(tmp_path, [annotation(i + 1, i) for i in range(4)], images)
    (tmp_path / "images/1.jpg").unlink()
    (tmp_path / "images/2.jpg").write_text("?")
    with pytest.raises(UserError, match=r"1 of kind 'missing image file': .*/1\.jpg; 1 of kind 'u"):
        make(tmp_path, max_corrupt=1)
    source = make(tmp_path, max_corrupt=2)
    assert len(source) == 3
    assert source.problems == {"missing image file": 1, "image that is left out": 1}
    with pytest.raises(CorruptImage):
        (tmp_path / "images/0.jpg").unlink()
        source[0]


def test_sizes_are_compared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    folder(tmp_path)
    photo(tmp_path / "images/a.jpg", (HEIGHT, WIDTH), exif=exif)
    with pytest.raises(UserError, match=r"a\.jpg is 30x40, annotated as 40x30 \(EXIF turns the i"):
        make(tmp_path)
    photo(tmp_path / "images/a.jpg", (WIDTH, HEIGHT), exif=exif)
    assert len(make(tmp_path)) == 1
    photo(tmp_path / "images/a.jpg", (HEIGHT, WIDTH - 1))
    with pytest.raises(UserError, match=r"a\.jpg is 39x30, annotated as 40x30;"):
        make(tmp_path, max_corrupt=9)


def test_entries_of_images_that_cannot_be_used(tmp_path):
    images = [image(5), image(5, "b.jpg"), image("6", "b.jpg"), image(7), image(8, ""), "x"]
    images += [image(9, "b.jpg"), image(2**40, "b.jpg")]
    for name in "ab":
        photo(tmp_path / f"images/{name}.jpg", (HEIGHT, WIDTH))
    write(tmp_path / "result.json", [annotation(), annotation(2, 7), annotation(3, 99)], images)
    source = make(tmp_path)
    assert "; 6 images left out: 3 image without a whole number as id, 1 " in source.summary
    assert [source[i]["image_id"] for i in range(len(source))] == [5, 9]
    assert source.problems == {
        "image without a whole number as id": 3,
        "image id used again": 1,
        "image without file name": 1,
        "image file listed again": 1,
        "image that is left out": 1,
        "unknown image": 1,
    }
    images = [image(1, "one/a.jpg"), image(2, "two/a.jpg"), image(3, "b.jpg")]
    folder(tmp_path, [annotation(1, 1), annotation(2, 3)], images)
    with pytest.raises(UserError, match=r"2 of .*: a\.jpg \(one/a\.jpg\), a\.jpg \(two/a"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is no JSON \(.*\); export it again"),
        ("\udcff", r"is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is a list, not COCO's format"),
        ('{"a": 1}', "no list 'images', it has a"),
        ('{"images": [], "annotations": {}}', "no list 'annotations', it has images, annotations"),
        ('{"images": [], "annotations": [], "categories": [1]}', "has no images"),
        ('{"images": [1], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [1], "annotations": [], "categories": [{"id": 1}]}', "needs a whole number"),
        (
            '{"images": [1], "annotations": [], "categories": [{"id": 1, "name": "a"},'
            ' {"id": 2, "name": "a"}]}',
            "two categories have id 2 or name 'a'",
        ),
    ],
)
def test_files_that_are_not_cocos(tmp_path, text, message):
    folder(tmp_path)
    (tmp_path / "result.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as error:
        make(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_things(tmp_path):
    with pytest.raises(UserError, match="unknown data source 'cocoo'; did you mean 'coco'"):
        make(tmp_path, "cocoo")
    with pytest.raises(UserError, match="needs root"):
        make_detection_source("coco")
    with pytest.raises(UserError, match="no folder"):
        make(tmp_path / "none")
    with pytest.raises(UserError, match=r"there is none; name it as annotations"):
        make(tmp_path)
    with pytest.raises(UserError, match=r"no object that can be used in .*result\.json; annotate"):
        make(folder(tmp_path, []))
