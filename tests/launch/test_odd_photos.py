"""Whatever a photo makes its reader raise, it alone is named, and the rest is done."""

import csv

import pytest

from tests.launch.forks import run_commands

RAISED = ("ZeroDivisionError", "RecursionError", "MemoryError", "KeyError", "OSError")
COMMANDS = {"predict": "all.csv", "explain": "shown"}


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos").mkdir()
    for text in ("first", *RAISED, "last"):
        (folder / "photos" / f"{text}.png").write_text(text)
    (folder / "weights.npz").touch()
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    given = ("--model=maxvit_tiny", f"--weights={tmp}/weights.npz", f"--input={tmp}/photos")
    lines = {
        name: [f"launch.{name}", *given, f"--output={tmp}/{output}"]
        for name, output in COMMANDS.items()
    }
    return run_commands(lines, tmp / "results", job="tests.launch.odd_photos:OddPhotos")


@pytest.mark.parametrize("name", COMMANDS)
def test_any_exception_is_of_its_photo(results, tmp, name):
    result = results[name]
    assert result.status == 1 and "Traceback" not in result.err, result.err
    for kind in RAISED:
        assert f"{tmp}/photos/{kind}.png: " in result.out
    table = tmp / ("all.csv" if name == "predict" else "shown/explanations.csv")
    with table.open(newline="") as file:
        assert [row["said"] for row in csv.DictReader(file)] == ["first", "last"]
    assert "2 of 7 photos, 5 could not be" in result.out
