"""What a folder of images is said to hold."""

import numpy as np
import pytest

from common.data.found_files import classes_line, left_out_line
from common.data.image_folder import ImageFolder
from common.data.sources import FolderSource
from common.errors import UserError


def folder_of(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never read")
    return root


def test_kinds_of_files():
    used = ["a.jpg", "b.JPG"]
    assert left_out_line(used, used) == ""
    found = [*used, *(f"{i}.HEIC" for i in range(1500)), "c.txt", "d/README"]
    expected = "left out: 1,502 of 1,504 files (1,500 .heic, 1 .txt, 1 without a suffix)"
    assert left_out_line(used, found) == expected


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((4, 6, 3), "13 images of 3 classes: b 6, a 4, c 3"),
        ((2, 19), "21 images of 2 classes: b 19, a 2; imbalanced: the largest class has 10 times"),
        ((2, 0), "2 images of 2 classes: a 2, b 0; none of 1 classes"),
        ((9,) * 12 + (8,), "116 images of 13 classes; 'a' has 9 and 'm' has 8, the most and"),
    ],
)
def test_classes(counts, line):
    names = "abcdefghijklm"[: len(counts)]
    assert classes_line(names, np.repeat(np.arange(len(counts)), counts)).startswith(line)


def test_folder_of_classes(tmp_path):
    names = [f"cat/{i}.jpg" for i in range(20)] + [f"dog/{i}.png" for i in range(10)]
    folder_of(tmp_path, [*names, "dog/more/x.heic", "dog/.hidden.txt", "cat/notes.txt"])
    source = FolderSource(tmp_path)
    assert source.summary == (
        f"26 images of 2 classes: cat 17, dog 9; {tmp_path} has no splits: 0.1 of each class is"
        " held out, by the files' names; left out: 2 of 32 files (1 .txt, 1 .heic)"
    )
    assert FolderSource(tmp_path, "val").summary.startswith("4 images of 2 classes: cat 3, dog 1;")


def test_folder_with_splits(tmp_path):
    folder_of(tmp_path, ["train/a/1.jpg", "train/a/2.jpg", "train/b/1.jpg", "val/a/1.jpg"])
    assert FolderSource(tmp_path).summary == "3 images of 2 classes: a 2, b 1"
    assert FolderSource(tmp_path, "val").summary.endswith("a 1, b 0; none of 1 classes")


def test_folder_without_classes(tmp_path):
    folder_of(tmp_path, [*(f"{i}.jpg" for i in range(6)), "more/x.HEIC"])
    assert ImageFolder(tmp_path).summary == "6 images; left out: 1 of 7 files (1 .heic)"
    part = ImageFolder(tmp_path, holdout=0.3)
    expected = f"{len(part)} images of 6, as 0.3 is held out; left out: 1 of 7 files (1 .heic)"
    assert part.summary == expected and len(part) < 6


@pytest.mark.parametrize("make", [FolderSource, ImageFolder])
def test_nothing_but_other_files(tmp_path, make):
    folder_of(tmp_path, ["cat/1.heic", "cat/2.heic"])
    with pytest.raises(UserError, match=r"; left out: 2 of 2 files \(2 \.heic\)"):
        make(tmp_path)
