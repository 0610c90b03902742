"""CSV files of labels, in both forms, and what is said of odd ones; the images that they name."""

import numpy as np
import pytest

from common.data import csv_rows
from common.data.label_tables import NOT_BINARY, UNKNOWN_LABEL, read_label_csv
from common.data.labelled_files import LabelledFiles
from common.data.table_files import MISSING, Parts
from common.errors import UserError
from tests.data.score_files import write_images

NAMED = """image,labels
a.png,cat;dog
b.png,
c.png, dog | cow
"""
COLUMNS = """image;cow;cat
a.png;0;1
b.png;1;1.0
"""


def write(folder, text):
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_names_between_semicolons_or_bars(tmp_path):
    table = read_label_csv(write(tmp_path, NAMED))
    assert table.class_names == ["cat", "cow", "dog"] and not table.problems
    assert table.images == ["a.png", "b.png", "c.png"]
    np.testing.assert_array_equal(table.labels, [[1, 0, 1], [0, 0, 0], [0, 1, 1]])
    assert table.labels.dtype == bool


def test_a_column_of_0_and_1_per_class(tmp_path):
    """In the order of the columns."""
    table = read_label_csv(write(tmp_path, COLUMNS))
    assert table.class_names == ["cow", "cat"] and table.images == ["a.png", "b.png"]
    np.testing.assert_array_equal(table.labels, [[0, 1], [1, 1]])


def test_classes_that_are_asked_for(tmp_path):
    """Of columns some; of names all, or rows would be taken for negatives of what they have."""
    table = read_label_csv(write(tmp_path, COLUMNS), class_names=("cat",))
    np.testing.assert_array_equal(table.labels, [[1], [1]])
    table = read_label_csv(write(tmp_path, NAMED), class_names=("dog", "cat"))
    assert table.images == ["a.png", "b.png"] and table.problems == {UNKNOWN_LABEL: ["c.png"]}
    np.testing.assert_array_equal(table.labels, [[1, 1], [0, 0]])


def test_columns_by_other_names(tmp_path):
    text = "name\ttags\nx/a\tcat\n"
    table = read_label_csv(write(tmp_path, text), image_column="name", label_column="tags")
    assert table.images == ["x/a"] and table.class_names == ["cat"]


def test_odd_rows_cost_no_others(tmp_path):
    text = "image,cat,dog\na.png,1,0\nb.png,1\n,1,1\nc.png,2,0\na.png,0,0\nd.png,yes,0\ne.png,0,1\n"
    table = read_label_csv(write(tmp_path, text))
    assert table.images == ["a.png", "e.png"]
    assert table.problems == {
        csv_rows.COLUMNS: ["line 3"],
        csv_rows.NO_NAME: ["line 4"],
        NOT_BINARY: ["line 5 (c.png)", "line 7 (d.png)"],
        csv_rows.TWICE: ["line 6 (a.png)"],
    }


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("file,labels\na.png,cat\n", {}, "has no column 'image'; .* config.data.image_column"),
        ("image,image,labels\n", {}, "has 2 columns 'image'; rename all but one"),
        ("image,tags\na.png,cat\n", {}, "no column 'labels', so that tags would be classes with 0"),
        ("image\na.png\n", {}, "has no labels: give a column of names, or one of 0 and 1"),
        ("image,labels\na.png,\n", {}, "has no labels"),
        ("image,cat\na.png,1\n", {"class_names": ("cats",)}, "0 columns 'cats', not one: did you"),
        ("image,labels\na,b\n", {"class_names": ("b", "b")}, "class 'b' is there 2 times"),
    ],
)
def test_files_that_can_not_be_used(tmp_path, text, fields, message):
    with pytest.raises(UserError, match=message):
        read_label_csv(write(tmp_path, text), **fields)


def test_examples_have_what_the_table_says(tmp_path):
    """A share is held out by the names; missing files are named, and labels without an image."""
    write_images(tmp_path, [f"images/{i}.png" for i in range(10)])
    rows = [f"{i}.png,{'even' if i % 2 == 0 else 'odd;small'}" for i in range(10)]
    table = read_label_csv(write(tmp_path, "\n".join(["image,labels", *rows, "10.png,large"])))
    parts = [LabelledFiles(table, tmp_path, Parts(holdout=0.3), train) for train in (True, False)]
    names = [source.name(i) for source in parts for i in range(len(source))]
    assert sorted(names) == [f"images/{i}.png" for i in range(10)]
    for source in parts:
        assert source.class_names == ["even", "large", "odd", "small"]
        assert source.problems == {MISSING: ["10.png"]}
        assert "no image of large" in source.summary and "1 missing image file" in source.summary
        for i in range(len(source)):
            example = source[i]
            odd = int(example["name"][-5]) % 2
            assert example["labels"].tolist() == [1 - odd, 0, odd, odd]
            assert example["labels"].dtype == np.float32
            assert example["image"] == (tmp_path / example["name"]).read_bytes()
