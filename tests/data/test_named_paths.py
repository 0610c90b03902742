"""Which file a name means."""

import pytest

from common.data.named_paths import NamedPaths

PATHS = ["a/1.jpg", "b/1.jpg", "b/2.PNG", "c/2.PNG.jpg", "3.jpg", "c/3.jpg", "x.v2.png"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.jpg", ["a/1.jpg"]),
        ("./b/1", ["b/1.jpg"]),
        ("b\\1.jpg", ["b/1.jpg"]),
        ("1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("1", ["a/1.jpg", "b/1.jpg"]),
        ("2", ["b/2.PNG"]),
        ("2.PNG", ["b/2.PNG"]),  # the whole name before one without suffix
        ("3.jpg", ["3.jpg"]),  # the whole path before its end
        ("x.v2", ["x.v2.png"]),
        ("c/1.jpg", []),  # another folder's file
        ("/1.jpg", []),
        ("../a/1.jpg", []),
        ("", []),
    ],
)
def test_names(name, found):
    assert NamedPaths(PATHS).find(name) == found
