"""Files that say how class folders are numbered and called."""

import json
import os

import pytest

from common.data.class_maps import named_folders, read_class_map
from common.data.sources import FolderSource
from common.errors import UserError

SYNSETS = ["n01440764", "n01443537", "n02012849"]
PETS = ["cat", "dog", "fox"]


@pytest.mark.parametrize(
    ("content", "folders", "found"),
    [
        ("fox\ncat\n\ndog\n", PETS, {"fox": "fox", "cat": "cat", "dog": "dog"}),  # timm's
        ("\ufefffox\r\ncat\r\ndog", PETS, {"fox": "fox", "cat": "cat", "dog": "dog"}),
        ("guide dog\ncat\n", ["cat", "guide dog"], {"guide dog": "guide dog", "cat": "cat"}),
        (
            "n02012849 crane\nn01440764 tench, Tinca tinca\nn01443537 goldfish\n",
            SYNSETS,
            {"n02012849": "crane", "n01440764": "tench, Tinca tinca", "n01443537": "goldfish"},
        ),
        (
            "n01443537\tgoldfish\nn01440764\ttench\n",
            SYNSETS[:2],
            {"n01443537": "goldfish", "n01440764": "tench"},
        ),
        ("2 dog\n0 fox\n10 cat\n", PETS, {"fox": "fox", "dog": "dog", "cat": "cat"}),
        ("0 fox\n1 cat\n", ["0", "1"], {"0": "fox", "1": "cat"}),
        ("dog 2\nfox 0\ncat 10\n", PETS, {"fox": "fox", "dog": "dog", "cat": "cat"}),
        ("dog,1\ncat,0", PETS[:2], {"cat": "cat", "dog": "dog"}),
        (
            "n01443537 2 goldfish\nn01440764 1 tench\n",  # ILSVRC's map_clsloc.txt
            SYNSETS[:2],
            {"n01440764": "tench", "n01443537": "goldfish"},
        ),
        (
            "1 n01443537 goldfish\n0 n01440764 tench\n",
            SYNSETS[:2],
            {"n01440764": "tench", "n01443537": "goldfish"},
        ),
        ("2\u2028x\x0b\n1\x1cx\n", ["1\x1cx", "2\u2028x"], {n: n for n in ("2\u2028x", "1\x1cx")}),
        ({"dog": "0", "fox": "2", "cat": "1"}, PETS, {"dog": "dog", "cat": "cat", "fox": "fox"}),
        ("1 0\n0 1\n", ["0", "1"], {"1": "1", "0": "0"}),  # the same in both ways
        ({"cat": 2, "dog": 0, "fox": 1}, PETS, {"dog": "dog", "fox": "fox", "cat": "cat"}),
        ({"10": 2, "9": 1, "0": 0}, ["0", "10", "9"], {"0": "0", "9": "9", "10": "10"}),
        ({"1": "cat", "0": "fox"}, PETS[::2], {"fox": "fox", "cat": "cat"}),
        ({"21": "lily", "3": "aster"}, ["21", "3"], {"3": "aster", "21": "lily"}),
        (
            {"n01443537": "goldfish", "n01440764": "tench"},  # without numbers: sorted
            SYNSETS[:2],
            {"n01440764": "tench", "n01443537": "goldfish"},
        ),
        (
            {"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"]},
            SYNSETS[:2],
            {"n01440764": "tench", "n01443537": "goldfish"},
        ),
        (["fox", "cat", "dog"], PETS, {"fox": "fox", "cat": "cat", "dog": "dog"}),
        (
            "a crane\nb crane\nc heron\n",
            ["a", "b", "c"],
            {"a": "crane (a)", "b": "crane (b)", "c": "heron"},
        ),
    ],
)
def test_what_a_file_says(tmp_path, content, folders, found):
    file = tmp_path / "classes"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    read = read_class_map(file, folders)
    assert [*read.items()] == [*found.items()]  # in that order


def test_numbers_of_folders_that_are_numbers(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("0 1\n1 2\n2 0\n")
    with pytest.raises(UserError, match="can be read in two ways"):
        read_class_map(file, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cat\ndog\ngnu\n", "lists other classes: the data lacks 'gnu', and the data has 'fox'"),
        ({"cat": 0, "dog": 1}, "lists other classes: the data has 'fox' besides"),
        ("cat\ndog\nfox\ncat\n", "has 'cat' more than once"),
        ('{"cat": 0, "dog": 1, "dog": 2, "fox": 3}', "has 'dog' more than once"),
        ("cat a\ndog a\nfox a (cat)\n", "has a name more than once"),
        ({"cat": 0, "dog": 1, "fox": 1}, "lists no classes with a number each"),
        ({"cat": [1], "dog": {}}, "lists no classes with a number each"),
        ("\n", "lists no classes"),
        ('{"cat": 0,', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (b"\xff\xfe", "is no UTF-8 text"),
        (None, "No such file"),
    ],
)
def test_what_is_no_class_map(tmp_path, content, said):
    file = tmp_path / "classes.txt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError) as caught:
        read_class_map(file, PETS)
    message = str(caught.value)
    assert said in message and "config.data.classes" in message and "\n" not in message


def test_a_pipe_is_no_class_map(tmp_path):
    os.mkfifo(tmp_path / "classes.txt")
    with pytest.raises(UserError, match="a pipe or device, not a file"):
        read_class_map(tmp_path / "classes.txt", PETS)


def test_folders_are_numbered_and_called_by_a_file(tmp_path):
    for name in SYNSETS:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "photos" / name / f"{i}.png").touch()  # never read
    file = tmp_path / "synset_words.txt"
    file.write_text("n02012849 crane\nn01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    for classes in (str(file), (str(file),), [str(file)]):
        source = FolderSource(tmp_path / "photos", classes=classes)
        assert source.class_names == ["crane", "tench, Tinca tinca", "goldfish"]
    assert {source.name(i).split("/")[-2]: source[i]["label"] for i in range(len(source))} == {
        "n02012849": 0,
        "n01440764": 1,
        "n01443537": 2,
    }
    assert [*named_folders(tmp_path / "photos", SYNSETS[::-1])] == SYNSETS[::-1]
