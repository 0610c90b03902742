"""A report is complete, or hidden and gone on with; nobody else's is touched."""

import pytest
from etils import epath

from common.unfinished_report import has_report, unfinished_report

SETTINGS = {"weights": "abc"}


def interrupt(path, settings, *numbers):
    """Keeps some results, begins a file, and is interrupted."""
    with pytest.raises(KeyboardInterrupt), unfinished_report(path, settings) as report:
        for number in numbers:
            report.kept().keep(number, {"number": number})
        (report.folder / "metrics.json").write_text("half")
        raise KeyboardInterrupt


def test_complete(tmp_path):
    path = tmp_path / "new" / "eval"
    for name in ("eval", "eval-2"):
        with unfinished_report(path, SETTINGS) as report:
            assert report.kept().found == 0
            report.kept().keep(0, 1)
            (report.folder / "metrics.json").touch()
            assert report.folder.name == ".eval.unfinished"
        assert report.folder == epath.Path(path.with_name(name))
        assert [file.name for file in report.folder.iterdir()] == ["metrics.json"]
    assert {each.name for each in path.parent.iterdir()} == {"eval", "eval-2"}


def test_interrupted(tmp_path, capsys):
    path = tmp_path / "eval"
    interrupt(path, SETTINGS, 0, 1)
    assert not path.exists() and not has_report(epath.Path(tmp_path))
    assert "the same command goes on with them" in capsys.readouterr().out
    with unfinished_report(path, SETTINGS) as report:
        assert report.kept().found == 2 and report.kept().get(1) == {"number": 1}
    assert has_report(epath.Path(tmp_path)) and not list(report.folder.glob(".*"))


def test_other_settings_replace_what_is_there(tmp_path, capsys):
    path = tmp_path / "eval"
    interrupt(path, SETTINGS, 0, 1)
    interrupt(path, {"weights": "other"}, 5)
    assert ".eval.unfinished is of an evaluation with other settings" in capsys.readouterr().out
    with unfinished_report(path, {"weights": "other"}) as report:
        assert report.kept().get(5) and not report.kept().get(0)


def test_failing_before_anything_is_kept_leaves_nothing(tmp_path):
    interrupt(tmp_path / "new" / "step_1" / "eval", SETTINGS)
    assert not list(tmp_path.iterdir())


def test_two_at_once_have_folders_of_their_own(tmp_path):
    path = tmp_path / "eval"
    interrupt(path, SETTINGS, 0)
    with unfinished_report(path, SETTINGS) as first:
        with unfinished_report(path, SETTINGS) as second:
            assert first.kept().found == 1 and second.kept().found == 0
            second.kept().keep(7, 7)
        assert second.folder == epath.Path(path) and first.kept().found == 1
    assert first.folder == epath.Path(tmp_path / "eval-2")
    assert {each.name for each in tmp_path.iterdir()} == {"eval", "eval-2"}


def test_long_names(tmp_path):
    with unfinished_report(tmp_path / ("x" * 250), SETTINGS) as report:
        pass
    assert report.folder.name == "x" * 250
