"""A table that is complete, or named so and gone on with."""

import csv
import io
import os

import pytest

from common.errors import UserError
from common.photo_table import photo_table, unfinished

ROWS = [{"class": 1, "name": "a cat, or two"}, {"class": 0, "name": ""}]


def interrupt(path, *photos):
    """Writes rows of some photos and is interrupted."""
    with pytest.raises(KeyboardInterrupt), photo_table(path) as table:
        for photo in photos:
            table.write(photo, ROWS)
        raise KeyboardInterrupt


def images(path):
    with path.open(newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


def test_complete(tmp_path):
    path = tmp_path / "new" / "all.csv"
    with photo_table(path) as table:
        table.write("a.jpg", ROWS)
        table.write("nothing.jpg", [])
        assert not path.exists() and images(unfinished(path)) == ["a.jpg"] * 2  # while it grows
    assert [file.name for file in path.parent.iterdir()] == ["all.csv"]
    with path.open(newline="") as file:
        assert [*csv.reader(file)][:2] == [
            ["image", "class", "name"],
            ["a.jpg", "1", ROWS[0]["name"]],
        ]


def test_an_interruption_leaves_what_is_gone_on_with(tmp_path):
    path, whole = tmp_path / "all.csv", tmp_path / "whole.csv"
    interrupt(path, "é.jpg", "b\n.jpg", "c.jpg")
    assert not path.exists() and len(images(unfinished(path))) == 6
    with photo_table(path) as table:
        assert table.done == {"é.jpg", "b\n.jpg"}  # nothing says that the last photo is all there
        table.write("c.jpg", ROWS)
    with photo_table(whole) as table:
        for photo in ("é.jpg", "b\n.jpg", "c.jpg"):
            table.write(photo, ROWS)
    assert path.read_bytes() == whole.read_bytes() and not unfinished(path).exists()


@pytest.mark.parametrize("cut", range(1, 80, 6))
def test_cut_off_anywhere(tmp_path, cut):
    path = tmp_path / "all.csv"
    interrupt(path, "a.jpg", "b.jpg")
    whole = unfinished(path).read_bytes()
    unfinished(path).write_bytes(whole[:-cut])
    with photo_table(path) as table:
        for photo in ("a.jpg", "b.jpg"):
            if photo not in table.done:
                table.write(photo, ROWS)
    assert path.read_bytes() == whole


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "all.csv"
    interrupt(path, "a.jpg", "b.jpg")
    words = "columns image, class, name, not image, label"
    with pytest.raises(UserError, match=words), photo_table(path) as table:
        table.write("b.jpg", [{"label": 1}])
    assert images(unfinished(path)) == ["a.jpg"] * 2


def test_one_process_at_a_time(tmp_path):
    path, words = tmp_path / "all.csv", r"all\.unfinished\.csv is being written by another process"
    with pytest.raises(UserError, match=words), photo_table(path), photo_table(path):
        pass


def test_what_was_changed_is_not_gone_on_with(tmp_path):
    path = tmp_path / "all.csv"
    interrupt(path, "a.jpg", "b.jpg")
    changed = unfinished(path).read_bytes().replace(b"\r\n", b"\n")
    unfinished(path).write_bytes(changed)
    with pytest.raises(UserError, match="was changed after its int"), photo_table(path):
        pass
    assert unfinished(path).read_bytes() == changed


def test_names_that_are_no_text(tmp_path):
    """A file's is read back as it was; of a class, half a character is written as JSON does."""
    path, name = tmp_path / "all.csv", os.fsdecode(b"caf\xe9\n.png")
    odd = [{"class": 1, "name": "half \ud800"}]
    with pytest.raises(KeyboardInterrupt), photo_table(path) as table:
        table.write(name, odd)
        table.write("b.jpg", odd)
        raise KeyboardInterrupt
    with photo_table(path) as table:
        assert table.done == {name}
        table.write("b.jpg", odd)
    found = path.read_bytes().decode(errors="surrogateescape")
    rows = [*csv.reader(io.StringIO(found, newline=""))]
    assert rows[1][0] == name and rows[-1] == ["b.jpg", "1", r"half \ud800"]


def test_a_pipe_or_a_field_of_megabytes_is_no_table(tmp_path):
    os.mkfifo(unfinished(tmp_path / "pipe.csv"))
    unfinished(tmp_path / "long.csv").write_text(f"image,name\r\na.jpg,{'x' * 200_000}\r\n")
    for name, said in (("pipe", "no regular file: remove it"), ("long", "was changed after")):
        with pytest.raises(UserError, match=said), photo_table(tmp_path / f"{name}.csv"):
            pass
