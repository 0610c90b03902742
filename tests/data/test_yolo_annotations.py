"""YOLO's text files: boxes, outlines, layouts, classes, what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from common.data.detection_objects import BAD_BOX, CLIPPED, NOT_FINITE, OUTSIDE, UNKNOWN_CATEGORY
from common.errors import UserError
from tests.data.detection_folders import HEIGHT, WIDTH, make
from tests.data.label_map_folders import photo

BOX = "0 0.375 0.5 0.25 0.2\n"  # 10 to 20 of 40 across, 12 to 18 of 30 down
OUTLINE = "1 0.25 0.4 0.5 0.4 0.5 0.6 0.25 0.6\n"


def yolo(root: Path, *texts: str | None, images: str = "images", classes: str = "cat\ndog\n"):
    """An image for every text, whose file is left out where the text is None."""
    for i, text in enumerate(texts):
        file = root / images / f"{i}.jpg"
        photo(file, (HEIGHT, WIDTH))
        if text is not None:
            labels = Path(str(file.relative_to(root)).replace("images", "labels"))
            (root / labels).parent.mkdir(parents=True, exist_ok=True)
            (root / labels).with_suffix(".txt").write_text(text)
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


def test_boxes(tmp_path):
    source = make(yolo(tmp_path, BOX + "\n1 0.5 0.5 1 1\n", "", None), "yolo")
    assert source.class_names == ["cat", "dog"] and source.category_ids == [0, 1]
    np.testing.assert_allclose(source[0]["boxes"], [[10, 12, 20, 18], [0, 0, 40, 30]], atol=1e-5)
    assert source[0]["labels"].tolist() == [0, 1] and len(source) == 3
    assert [len(source[i]["labels"]) for i in range(3)] == [2, 0, 0]
    assert "3 images, 2 of them without objects" in source.summary and not source.has_masks
    truth = source.ground_truth()
    assert [row["id"] for row in truth["images"]] == [1, 2, 3]
    assert truth["annotations"][0]["area"] == pytest.approx(60)


def test_outlines(tmp_path):
    source = make(yolo(tmp_path, OUTLINE), "yolo")
    assert source.has_masks and source[0]["boxes"].tolist() == [[10, 12, 20, 18]]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[12:18, 10:20] = True
    assert (source[0]["masks"][0] == expected).all()
    assert not make(yolo(tmp_path, BOX + OUTLINE), "yolo").has_masks


@pytest.mark.parametrize("pattern", ["images/{}", "{}/images"])
def test_splits(tmp_path, pattern):
    for split in ("train", "valid"):
        yolo(tmp_path, BOX, images=pattern.format(split), classes="")
    names = "names: {0: cat, 1: dog}\nnc: 2\ntrain: ../train/images\n"
    (tmp_path / "data.yaml").write_text(names)
    source = make(tmp_path, "yolo", split="val")
    assert source.name(0) == f"{pattern.format('valid')}/0.jpg" and len(source[0]["labels"]) == 1
    with pytest.raises(UserError, match=r"no split 'test' in .*choose from train, valid"):
        make(tmp_path, "yolo", split="test")


def test_cvat_and_held_out(tmp_path):
    for i in range(4):
        photo(tmp_path / f"obj_train_data/{i}.png", (HEIGHT, WIDTH))
        (tmp_path / f"obj_train_data/{i}.txt").write_text(BOX)
    (tmp_path / "obj.names").write_text("cat\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/0.png\n")
    parts = [make(tmp_path, "yolo", split=split, holdout=0.5) for split in ("train", "val")]
    assert sum(map(len, parts)) == 4 and min(map(len, parts)) > 0
    with pytest.raises(UserError, match="no split 'vla'"):
        make(tmp_path, "yolo", split="vla")


def test_faults(tmp_path):
    lines = ["2 0.5 0.5 0.1 0.1", "cat 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "0 0.5 0.5 0.1 0.1 0.9"]
    lines += ["0 0.5 x 0.1 0.1", "0 nan 0.5 0.1 0.1", "0 1.5 0.5 0.1 0.1", "0 0.9 0.5 0.8 0.2", "0"]
    lines += ["0 0.1 0.1 0.2 0.2"]
    source = make(yolo(tmp_path, "\n".join(lines)), "yolo")
    expected = {UNKNOWN_CATEGORY: 2, BAD_BOX: 4, NOT_FINITE: 1, OUTSIDE: 1, CLIPPED: 1}
    assert source.problems == expected and len(source[0]["labels"]) == 2


def test_files_that_do_not_fit(tmp_path):
    yolo(tmp_path, BOX, BOX, BOX)
    (tmp_path / "labels/9.txt").write_text(BOX)
    with pytest.raises(UserError, match=r"1 of kind 'missing image file': the image of .*9\.txt"):
        make(tmp_path, "yolo")
    (tmp_path / "labels/9.txt").unlink()
    photo(tmp_path / "images/0.png", (HEIGHT, WIDTH))
    with pytest.raises(UserError, match=r"image files have': images/0\.jpg and images/0\.png"):
        make(tmp_path, "yolo")
    (tmp_path / "images/0.png").unlink()
    (tmp_path / "labels/1.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "images/2.jpg").write_text("?")
    with pytest.raises(UserError, match=r"unreadable text file.*1\.txt.*unreadable.*2\.jpg"):
        make(tmp_path, "yolo")
    assert len(make(tmp_path, "yolo", max_corrupt=2)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat, dog", "data.yaml can't be read"),
        ("names: !!python/object/apply:os.system ['true']", "data.yaml can't be read"),
        ("names: {1: cat, 2: dog}", "must be numbered 0 to 1"),
        ("names: cat", "has no list 'names'"),
        ("nc: 2", "has no list 'names'"),
        ("names: [cat, cat]", "two classes are called 'cat'"),
        ("#" * (1 << 21), "far too large"),
    ],
)
def test_classes_that_cannot_be_read(tmp_path, text, message):
    yolo(tmp_path, BOX)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        make(tmp_path, "yolo")
    assert "\n" not in str(error.value)


def test_missing_things(tmp_path):
    with pytest.raises(UserError, match=r"no data\.yaml or .* in .*names the classes"):
        make(tmp_path, "yolo")
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match="no images in"):
        make(tmp_path, "yolo")
    with pytest.raises(UserError, match=r"no object that can be used in .*labels; annotate"):
        make(yolo(tmp_path, None), "yolo")
