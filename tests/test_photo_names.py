"""Names and ids that tell photos of a folder apart."""

import os
from pathlib import Path

import pytest

from common.errors import UserError
from common.photo_names import image_ids, places, relative_paths, shown, temporary_name


def names(*files):
    root = Path("photos")
    inside = relative_paths(root, [root / file for file in files])
    assert [str(place) for place in inside.values()] == list(files)
    place_of = places(inside)
    return [str(place) for place in place_of.values()], list(image_ids(place_of).values())


def test_ids_are_the_numbers_that_names_are():
    files = "000000000139.jpg", "000000000285.png", "garden/7.jpg", "8a.jpg", "-9.jpg", "²3.jpg"
    _, ids = names(*files)
    assert ids == [139, 285, 7, "8a", "-9", "²3"]


def test_a_number_that_two_have_tells_nothing():
    _, ids = names("1.jpg", "01.jpg", "a/2.jpg", "b/2.jpg", "3.jpg", "3.png", "4.png")
    assert ids == ["1", "01", "a/2", "b/2", "3.jpg", "3.png", 4]


def test_places_are_names_without_suffix_where_that_is_enough():
    found, ids = names("a.jpg", "a.png", "inner/a.jpg", "b.png", "B.jpg", "c", "c.jpg")
    assert found == ids == ["a.jpg", "a.png", "inner/a", "b.png", "B.jpg", "c", "c.jpg"]


def test_names_that_differ_in_case_alone():
    with pytest.raises(UserError, match=r"photos/x.jpg and photos/X.jpg differ in case alone"):
        names("x.jpg", "X.jpg")


def test_names_in_messages():
    assert shown(os.fsdecode(b"a/caf\xe9.png")) == r"a/caf\udce9.png"
    assert shown("Café\n\x1b[31m.png") == r"Café\n\x1b[31m.png"
    long = shown("x" * 500 + "7.png")
    assert len(long) == 200 and long.startswith("...x") and long.endswith("x7.png")


def test_names_of_files_that_are_not_complete(tmp_path):
    assert temporary_name("a/photo.png") == ".photo.png.tmp"
    for name in ("é" * 127, "x" * 255):
        (tmp_path / temporary_name(name)).touch()
    assert len(list(tmp_path.iterdir())) == 2
