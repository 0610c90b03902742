"""The console command `multi-axis`: what it lists, what it runs, and what it refuses at once."""

import ast
import os
import re
import subprocess
import sys

import pytest

import maxim_jax
import maxvit_jax
from common.errors import UserError
from launch.cli import COMMANDS, main
from launch.config_files import config_file, last_of_each, with_config_files
from tests.launch.forks import ROOT

# What takes seconds to import.
HEAVY = "jax", "flax", "numpy", "ml_collections", "grain", "orbax"


def answered(monkeypatch, capsys, *arguments):
    """Status and output of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["multi-axis", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code, capsys.readouterr()
    return 0, capsys.readouterr()


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_lists_the_commands(monkeypatch, capsys, arguments):
    status, (out, err) = answered(monkeypatch, capsys, *arguments)
    assert status == 0 and not err
    for name, what in COMMANDS.items():
        assert re.search(rf"^  multi-axis {name} +{what}$", out, re.MULTILINE)


def test_has_every_main_of_launch():
    mains = {
        path.stem
        for path in (ROOT / "launch").glob("*.py")
        if any(ast.unparse(n).startswith("if __name__") for n in ast.parse(path.read_text()).body)
    }
    assert mains == set(COMMANDS)


def test_version(monkeypatch, capsys):
    status, (out, _) = answered(monkeypatch, capsys, "--version")
    assert status == 0 and out.strip() == maxvit_jax.__version__ == maxim_jax.__version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian': did you mean 'train'"),
        (["train", "--config=maxvit_digit"], "no recipe 'maxvit_digit': did you mean 'maxvit_dig"),
        (["train", "--config", "maxvit_tin:smoke=true"], "no recipe 'maxvit_tin': did you mean"),
        (["plan", "--config=configs/moat_digit.py"], "did you mean 'configs/moat_digits.py'"),
    ],
)
def test_mistakes_are_answered_at_once(arguments, message):
    """In one line, and before anything is imported that takes seconds."""
    code = (
        f"import sys; from launch.cli import main; sys.argv[1:] = {arguments}\n"
        f"try: main()\nfinally: print(sorted({set(HEAVY)} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 2 and result.stdout == "[]\n"
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line


# ---------------------------------------------------------------- recipes by name


def test_recipes_by_name_or_path(tmp_path, monkeypatch):
    recipe = str(ROOT / "configs" / "maxvit_digits.py")
    monkeypatch.chdir(tmp_path)
    assert config_file("maxvit_digits") == recipe
    assert config_file("maxvit_digits:smoke=true,a=b:c") == f"{recipe}:smoke=true,a=b:c"
    (tmp_path / "maxvit_digits").mkdir()
    assert config_file("maxvit_digits") == recipe  # a folder is no recipe
    (tmp_path / "mine.py").touch()
    assert config_file("mine.py:a=b") == "mine.py:a=b"
    (tmp_path / "moat_digits").touch()
    assert config_file("moat_digits") == "moat_digits"  # a path that is there comes first
    for unknown in ("__init__", "base", ""):
        with pytest.raises(UserError, match=f"no recipe '{unknown}'"):
            config_file(unknown)


def test_only_the_value_of_config_is_a_recipe():
    recipe = str(ROOT / "configs" / "maxvit_digits.py")
    rest = ["--workdir=maxvit_digits", "--config.model.name=maxvit_digits", "maxvit_digits"]
    expected = ["train", f"--config={recipe}", *rest]
    assert with_config_files(["train", "--config=maxvit_digits", *rest]) == expected
    expected = ["train", "--config", f"{recipe}:smoke=1", *rest]
    assert with_config_files(["train", "--config", "maxvit_digits:smoke=1", *rest]) == expected
    assert with_config_files([*rest, "--config"]) == [*rest, "--config"]


# ---------------------------------------------------------------- folders of the user's own


@pytest.mark.parametrize("name", ["common", "configs"])
def test_a_folder_of_that_name_does_not_hide_ours(tmp_path, name):
    """In the current directory, where `python -m` looks first."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise ImportError('not ours')")
    result = subprocess.run(
        [sys.executable, "-m", "launch.config_files"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_the_last_of_a_field_counts():
    """Flags of tuples would join what is given twice."""
    said = ["--config=a", "--config.b=(1,)", "--c", "--config.b=(2,)", "--config.d=1", "--c"]
    assert last_of_each(said) == [said[0], "--c", "--config.b=(2,)", "--config.d=1", "--c"]


def test_home_is_what_it_is_to_a_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    found = with_config_files(["--input=~/photos", "--config.data.root=~", "--top=3"])
    assert found == ["--input=/home/ada/photos", "--config.data.root=/home/ada", "--top=3"]
    assert with_config_files(["--metric=-~/x", "~/x"]) == ["--metric=-~/x", "~/x"]
