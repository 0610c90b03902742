"""The wheel: what is in it, and its commands in a directory with a `common` of its own."""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

import maxvit_jax
from tests.launch.forks import ENVIRONMENT, ROOT
from tests.launch.test_mains import SMALL

PACKAGES = "common", "configs", "launch", "maxim_jax", "maxvit_jax"
OTHERS = "raise ImportError('not of this project')"  # what the user's own packages do

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the wheel, installed without what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "clone" / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "clone")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    build = ["wheel", *offline, "--no-build-isolation", f"--wheel-dir={folder}"]
    subprocess.run([*pip, *build, str(folder / "clone")], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, f"--target={folder / 'site'}", wheel], check=True)
    return folder / "site"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The current directory: a project of the user's own, whose names are ours."""
    for name in ("common", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(OTHERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(site, command):
    """Runs a command where nothing but the wheel is ours."""
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(site)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def train(*arguments, workdir="run", **overrides):
    fields = [f"--config.{name}={value}" for name, value in (SMALL | overrides).items()]
    return ["train", *arguments, f"--workdir={workdir}", *fields]


def console(site, *arguments):
    return run(site, [str(site / "bin" / "multi-axis"), *arguments])


def module(site, command, *arguments):
    return run(site, [sys.executable, "-m", f"launch.{command}", *arguments])


def test_holds_all_files(site):
    for name in PACKAGES:
        ours = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file()}
        ours = {path for path in ours if "__pycache__" not in path.parts}
        found = {path.relative_to(site) for path in (site / name).rglob("*") if path.is_file()}
        assert ours == {path for path in found if "__pycache__" not in path.parts}
        assert pathlib.Path(name, "py.typed") in ours


def test_says_what_it_is(site):
    (found,) = importlib.metadata.distributions(path=[str(site)])
    assert (found.name, found.version) == ("multi-axis-jax", maxvit_jax.__version__)
    licences = [found.metadata.get(name) for name in ("License-Expression", "License")]
    assert "Apache-2.0" in licences  # by the version of setuptools
    assert "Programming Language :: Python :: 3.14" in found.metadata.get_all("Classifier")
    required = {line for line in found.requires if "extra ==" not in line}
    assert any(line.startswith("jax>=") for line in required)
    assert not any(re.match("tensorflow(-cpu)?[>;]", line) for line in required)
    extras = found.metadata.get_all("Provides-Extra")
    assert {"tensorflow", "torch", "photos", "video", "detection", "cuda", "tpu"} <= {*extras}


def test_commands_work_anywhere(site, elsewhere):
    """By the console command, which even a `launch` doesn't disturb, and by `python -m`."""
    (elsewhere / "launch").mkdir()
    (elsewhere / "launch" / "__init__.py").write_text(OTHERS)
    result = console(site, *train("--config=maxvit_digits"))
    assert result.returncode == 0, result.stderr
    assert "eval/accuracy_top1: " in result.stdout
    shutil.rmtree(elsewhere / "launch")
    result = module(site, *train("--config=maxvit_digits", **{"train.num_steps": 6}))
    assert result.returncode == 0, result.stderr
    assert "continuing from step 4" in result.stdout
    result = console(site, "evaluate", "-h")
    assert result.returncode == 0, result.stderr
    assert (
        "launch.evaluate --workdir=runs/digits" in result.stdout and "--checkpoint" in result.stdout
    )


def test_recipes_of_ones_own(site, elsewhere):
    """By path, whatever it is called, and with pieces of ours."""
    recipe = """
        from configs.base.digits import digits

        MODEL = {"name": "maxvit_tiny", "stem_widths": (4, 8), "widths": (32,), "depths": (1,)}


        def get_config(arg=""):
            return digits(MODEL | {"window_size": 4}, 2)
    """
    (elsewhere / "maxvit_digits").write_text(textwrap.dedent(recipe))
    result = module(site, "plan", "--config=maxvit_digits", "--devices=2")
    assert result.returncode == 0, result.stderr
    (elsewhere / "maxvit_digits").rename(elsewhere / "configs" / "mine.py")
    again = console(site, "plan", "--config=configs/mine.py", "--devices=2")
    assert again.returncode == 0 and again.stdout == result.stdout, again.stderr
