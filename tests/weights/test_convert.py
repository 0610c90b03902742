"""`python -m launch.convert`: every direction, exact, and one line for mistakes."""

import numpy as np
import pytest

import maxim_jax
import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from common.weights.readers import read_arrays
from launch.convert import convert
from tests.golden.cases import load_case, load_maxim_case
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands

CASE = load_case("tf_micro_ft384")
NAME = "maxvit_micro"
MAXIM_CASE = load_maxim_case("micro_1stage_64x64")
MAXIM_NAME = "maxim_micro"


@pytest.fixture(autouse=True)
def micro(monkeypatch):
    monkeypatch.setitem(maxvit_jax.FAMILIES["maxvit"].variants, NAME, CASE.fields())
    monkeypatch.setitem(maxim_jax.FAMILIES["maxim"].variants, MAXIM_NAME, MAXIM_CASE.fields())


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


def test_a_tour_through_all_formats_ends_where_it_began(tmp_path):
    source = CASE.write_checkpoint(tmp_path / "official", "tf", ema=True)
    own, back = tmp_path / "own", tmp_path / "back" / "model"
    lines = convert(NAME, source, str(own))
    assert "126 arrays used" in lines and "183,336 parameters, 10 classes" in lines
    assert f"wrote {own} (safetensors)" in lines
    convert(NAME, str(own), str(back), "official")
    assert_same(read_arrays(back).arrays, CASE.variables())


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_timm_gets_tables_of_the_window_in_use(name, tmp_path):
    source = CASE.write_checkpoint(tmp_path / "official.npz", "npz")
    lines = convert(NAME, source, str(tmp_path / name), "timm")
    assert "4 relative-bias tables resized from 13x13 to 23x23" in lines
    file = read_arrays(tmp_path / name)
    assert file.format == ("PyTorch" if name.endswith("pth") else "safetensors")
    table = "stages.0.blocks.0.attn_grid.attn.rel_pos.relative_position_bias_table"
    assert file.arrays[table].shape == (1, 23, 23)
    _, want = maxvit_jax.load_pretrained(NAME, source, bias_window_size=None)
    _, got, report = maxvit_jax.load_with_report(NAME, tmp_path / name, bias_window_size=None)
    assert not report.resized
    assert_same(flatten(got), flatten(want))


def test_maxim_through_all_formats_ends_where_it_began(tmp_path):
    source = MAXIM_CASE.write_checkpoint(tmp_path / "official.npz", "npz")
    own, torch, back = (str(tmp_path / name) for name in ("own", "model.pth", "back"))
    lines = convert(MAXIM_NAME, source, own)
    assert "298 arrays, 1,101,894 parameters, 2 supervision scales" in lines
    assert "wrote" in convert(MAXIM_NAME, own, torch, "torch")
    convert(MAXIM_NAME, torch, back, "official")
    file = read_arrays(back)
    assert file.format == "npz"
    assert_same(file.arrays, MAXIM_CASE.variables())
    with pytest.raises(UserError, match="exists already"):
        convert(MAXIM_NAME, torch, back, "official")
    message = "--to=timm does not apply: maxim_micro has names by official, torch"
    with pytest.raises(UserError, match=message):
        convert(MAXIM_NAME, own, str(tmp_path / "no"), "timm")


def test_overrides_and_a_taken_output(tmp_path):
    source = CASE.write_checkpoint(tmp_path / "official.npz", "npz")
    lines = convert(NAME, source, str(tmp_path / "own"), num_classes=3)
    assert "3 classes" in lines and "freshly initialised: params/head/logits/bias" in lines
    with pytest.raises(UserError, match="exists already"):
        convert(NAME, source, str(tmp_path / "own"))


MISTAKES = {
    "file": (
        ["--model=maxvit_tiny", "--input=nowhere.pth", "--output=o"],
        "nowhere.pth does not exist",
    ),
    "restorer": (
        ["--model=maxim_s4", "--input=README.md", "--output=o"],
        "unknown model 'maxim_s4'",
    ),
    "field": (
        ["--model=maxim_s2", "--input=README.md", "--output=o", "--num_classes=3"],
        "no field",
    ),
    "model": (
        ["--model=maxvit_tony", "--input=README.md", "--output=o"],
        "unknown model 'maxvit_tony'",
    ),
    "to": (["--model=maxvit_tiny", "--input=README.md", "--output=o", "--to=onnx"], "onnx"),
    "no output": (["--model=maxvit_tiny", "--input=README.md"], "output"),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """What every mistaken command left."""
    lines = {name: ["launch.convert", *arguments] for name, (arguments, _) in MISTAKES.items()}
    return run_commands(lines, tmp_path_factory.mktemp("convert"))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(commands, name):
    result = commands[name]
    assert result.status == 2
    assert "Traceback" not in result.err
    assert MISTAKES[name][1] in result.err and len(result.err.splitlines()) == 1


def test_windows_of_our_own_directories_stay(tmp_path):
    """Whatever the size is that they are said to be for."""
    fields = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
    model = maxvit_jax.create_model("maxvit_tiny", **fields, num_classes=3)
    variables = make_variables(model, np.zeros((1, 8, 8, 3), np.float32))
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables)
    lines = convert("maxvit_tiny", str(tmp_path / "own"), str(tmp_path / "new"), image_size=384)
    assert "resized" not in lines
    again, _ = maxvit_jax.load_pretrained("maxvit_tiny", tmp_path / "new")
    assert again.window_size == 2
