"""Lists of classes: files of one's own, and the public data sets'."""

import numpy as np
import pytest

from common.data.class_lists import (
    ade20k_classes,
    cityscapes_classes,
    distinct_colours,
    read_class_list,
    voc_classes,
    voc_colours,
)
from common.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no classes; write a line per class"),
        ("\n# comment\n", "lists no classes"),
        ("void\n", "no classes but ignored ones"),
        ("a\nb\na\n", "lines 1 and 3: two classes of name 'a'"),
        ("a 1 2 3\nb 1 2 3\n", r"lines 1 and 2: two classes of colour \(1, 2, 3\)"),
        ("a 1 2 3\nb\n", "line 2: 'b' has no colour"),
        ("a 1 2 300\n", r"line 1: colour \(1, 2, 300\) is not within 0 to 255"),
        ("\n".join(f"c{i}" for i in range(256)), "lists 256 classes; label maps have at most 255"),
    ],
)
def test_bad_class_lists(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes\.txt.*{message}"):
        read_class_list(tmp_path / "classes.txt")


def test_class_lists(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("# of the road\n\ntraffic light 250, 170, 30\r\nsky #4682B4\n", "utf-8-sig")
    found = read_class_list(file)
    assert found.names == ["traffic light", "sky"]
    assert found.palette.tolist() == [[250, 170, 30], [70, 130, 180]]
    (tmp_path / "labelmap.txt").write_text("a:b:1,2,3:hand,foot:run\nvoid:0,0,0::\n")
    found = read_class_list(tmp_path / "labelmap.txt")
    assert found.names == ["a:b"] and found.of_colour == {(1, 2, 3): 0, (0, 0, 0): 255}
    (tmp_path / "labelmap.txt").write_text("cat\n")
    with pytest.raises(UserError, match="line 1: 'cat' is no class; expected name:r,g,b::"):
        read_class_list(tmp_path / "labelmap.txt")
    file.write_bytes(b"\xff\xfeclass")
    with pytest.raises(UserError, match="no UTF-8 text"):
        read_class_list(file)
    with pytest.raises(UserError, match=r"other\.txt: No such file"):
        read_class_list(tmp_path / "other.txt")
    file.write_text(" 1" * 200)
    with pytest.raises(UserError, match="line 1 has 399 letters"):
        read_class_list(file)
    file.write_text("a\n" * 600_000)
    with pytest.raises(UserError, match="far too large"):
        read_class_list(file)


# Lists and colours.


@pytest.mark.parametrize(
    ("classes", "count"),
    [
        (ade20k_classes(), 150),
        (voc_classes(), 21),
        (cityscapes_classes(train_ids=True), 19),
        (cityscapes_classes(train_ids=False), 19),
    ],
)
def test_public_class_lists(classes, count):
    assert len(set(classes.names)) == len(classes.palette) == count
    assert set(classes.of_value.tolist()) == {*range(count), 255, -1}
    assert all(name == name.strip() for name in classes.names)


def test_voc_colours():
    assert voc_colours(21)[[0, 1, 3, 8, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [128, 128, 0],
        [64, 0, 0],
        [0, 64, 128],
    ]


def test_distinct_colours():
    colours = distinct_colours(255)
    assert colours.dtype == np.uint8 and len({*map(tuple, colours.tolist())}) == 255
    assert (distinct_colours(7) == colours[:7]).all() and distinct_colours(0).shape == (0, 3)
    few = colours[:8].astype(int)
    distances = np.abs(few[:, None] - few).max(-1) + 255 * np.eye(8, dtype=int)
    assert distances.min() > 100 and few.max(-1).min() > 100
