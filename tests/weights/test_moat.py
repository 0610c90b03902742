"""MOAT weights of the official release: exact both ways, and told apart from what doesn't fit."""

import jax
import numpy as np
import pytest

import maxvit_jax
from common.errors import UserError
from common.layers.relative_bias import resize_table
from common.weights.mapping import flatten
from maxvit_jax.models.moat import MOAT
from tests.golden.cases import load_case, write_arrays

MICRO = load_case("micro_cls", "moat")
NO_BIAS = load_case("micro_nope", "moat")
TABLE = "attention/relative_bias/table"


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


@pytest.fixture(scope="module")
def micro():
    return MOAT(**MICRO.fields())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Official files with and without position bias."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "bias": MICRO.write_checkpoint(folder / "bias.npz", "npz"),
        "no bias": NO_BIAS.write_checkpoint(folder / "no_bias.npz", "npz"),
    }


@pytest.fixture(scope="module")
def variables(micro, files):
    return maxvit_jax.load_pretrained(micro, files["bias"])[1]


@pytest.fixture
def named(monkeypatch, micro):
    """The micro model as a variant."""
    fields = {k: v for k, v in MICRO.fields().items() if k not in ("num_classes", "relative_bias")}
    monkeypatch.setitem(maxvit_jax.FAMILIES["moat"].variants, "moat_micro", fields)
    return "moat_micro"


def problem(model, path, **overrides):
    with pytest.raises(UserError) as info:
        maxvit_jax.load_pretrained(model, path, **overrides)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("fmt", ["tf", "tf with averages"])
def test_checkpoints_hold_the_arrays_of_npz_files(fmt, micro, variables, tmp_path):
    """Which give the official outputs: tests/models/test_moat.py."""
    path = MICRO.write_checkpoint(tmp_path / "model", "tf", ema="averages" in fmt)
    _, loaded = maxvit_jax.load_pretrained(micro, path)
    assert_same(flatten(loaded), flatten(variables))


def test_round_trip_is_exact(micro, variables):
    assert_same(maxvit_jax.export_weights(micro, variables, "official"), MICRO.variables())
    assert jax.tree.structure(variables) == jax.tree.structure(
        jax.eval_shape(micro.init, jax.random.key(0), MICRO.images())
    )
    with pytest.raises(UserError, match="unknown weight source 'timm'"):
        maxvit_jax.export_weights(micro, variables, "timm")


@pytest.mark.slow
def test_round_trip_of_full_size_is_exact(tmp_path):
    case = load_case("tiny_moat0_256", "moat")
    path = case.write_checkpoint(tmp_path / "model", "tf", ema=True)
    model, variables = maxvit_jax.load_pretrained("tiny_moat_0", path)
    assert_same(maxvit_jax.export_weights(model, variables, "official"), case.variables())


def test_eager_names_of_the_stem(micro, variables, tmp_path):
    arrays = {f"{n.removeprefix('moat/stem/')}:0": a for n, a in MICRO.variables().items()}
    assert "conv_0/kernel:0" in arrays and "norm_0/moving_mean:0" in arrays
    path = write_arrays(tmp_path / "eager.npz", arrays, "npz")
    assert_same(flatten(maxvit_jax.load_pretrained(micro, path)[1]), flatten(variables))


def test_tables_of_another_size_are_resized(micro, variables, files):
    model, other, report = maxvit_jax.load_with_report(
        micro, files["bias"], bias_window_size=(None, None, 14, 12)
    )
    assert len(report.resized) == 2 and "resized from 13x13 to 23x23" in str(report)
    for name, array in flatten(variables).items():
        resized = name in report.resized
        want = resize_table(array, (12, 12)) if resized else array
        np.testing.assert_allclose(flatten(other)[name], want, atol=1e-6 if resized else 0)
    exported = maxvit_jax.export_weights(model, other, "official")
    assert exported["moat/block_03_00/attention/relative_position_embedding"].shape == (8, 23, 23)


def test_position_bias_of_a_named_model_follows_the_file(named, files):
    for kind, path in files.items():
        model, variables, report = maxvit_jax.load_with_report(named, path)
        assert model.relative_bias == (kind == "bias") and model.num_classes == 10
        assert sum(n.endswith(TABLE) for n in flatten(variables)) == (4 if kind == "bias" else 0)
        assert not report.left and not report.fresh


def test_position_bias_can_be_left_in_the_file(named, micro, variables, files):
    without = {n: a for n, a in flatten(variables).items() if not n.endswith(TABLE)}
    for model in (named, micro):
        got, other, report = maxvit_jax.load_with_report(model, files["bias"], relative_bias=False)
        assert not got.relative_bias and not report.fresh
        assert len(report.left) == 4 and "left in the file" in str(report)
        assert all(n.endswith("relative_position_embedding") for n in report.left)
        assert_same(flatten(other), without)


def test_position_bias_that_the_file_lacks(named, micro, files):
    for message in (
        problem(micro, files["no bias"]),
        problem(named, files["no bias"], relative_bias=True),
    ):
        assert "4 missing" in message and message.endswith(
            "relative_bias=False as an argument makes one without"
        )


def test_another_number_of_classes(micro, variables, files):
    message = problem(micro.clone(num_classes=7), files["bias"])
    assert "[1, 1, 64, 10], not [1, 1, 64, 7]" in message
    assert "num_classes=7 as an argument starts the last layer fresh" in message

    _, other, report = maxvit_jax.load_with_report(micro, files["bias"], num_classes=7)
    assert set(report.fresh) == {"params/head/logits/kernel", "params/head/logits/bias"}
    assert len(report.left) == 2
    for name, array in flatten(other).items():
        if name not in report.fresh:
            np.testing.assert_array_equal(array, flatten(variables)[name])
    kernel = other["params"]["head"]["logits"]["kernel"]
    assert kernel.shape == (64, 7) and 0.015 < np.std(kernel) < 0.025

    _, other, report = maxvit_jax.load_with_report(micro, files["bias"], num_classes=0)
    assert other["params"]["head"].keys() == {"norm"} and len(report.left) == 2
    assert_same(other["params"]["head"]["norm"], variables["params"]["head"]["norm"])


def test_backbones_have_no_head(micro, tmp_path):
    """Dense models come without `final_layer_norm` and `logits_head`."""
    arrays = {n: a for n, a in MICRO.variables().items() if "final" not in n and "logits" not in n}
    path = write_arrays(tmp_path / "backbone.npz", arrays, "npz")
    assert "the file has no classes" in problem(micro, path)
    _, other, report = maxvit_jax.load_with_report(micro, path, num_classes=0)
    assert set(report.fresh) == {"params/head/norm/scale", "params/head/norm/bias"}
    assert (other["params"]["head"]["norm"]["scale"] == 1).all()
    assert len(maxvit_jax.load_with_report(micro, path, num_classes=10)[2].fresh) == 4


def test_arrays_missing_left_over_misshaped_or_not_finite(micro, tmp_path):
    first = "moat/stem/conv_0/kernel"

    def attempt(change):
        arrays = MICRO.variables()
        change(arrays)
        return problem(micro, write_arrays(tmp_path / "w.npz", arrays, "npz"))

    assert f"1 missing ({first})" in attempt(lambda a: a.pop(first))
    # The official loader leaves statistics at 0 and 1; here they are weights like all others.
    statistics = "moat/block_02_00/pre_norm/moving_variance"
    assert f"1 missing ({statistics})" in attempt(lambda a: a.pop(statistics))
    extra = "moat/extra"
    assert f"1 unexpected ({extra})" in attempt(lambda a: a.update({extra: np.zeros(1)}))
    assert f"1 mis-shaped ({first} [1], not [" in attempt(lambda a: a.update({first: np.zeros(1)}))
    assert f"array {first} holds NaN" in attempt(lambda a: a[first].fill(np.inf))
    twice = attempt(lambda a: a.update({"conv_0/bias": a["moat/stem/conv_0/bias"]}))
    assert "1 there in two spellings" in twice


def test_another_variant_is_named(files, tmp_path):
    message = problem("moat_0", files["bias"])
    assert "custom model with widths (8, 16, 32, 64), depths (1, 2, 2, 2)" in message
    arrays, row = {}, maxvit_jax.FAMILIES["moat"].variants["tiny_moat_2"]
    for s, (width, depth) in enumerate(zip(row["widths"], row["depths"], strict=True)):
        for b in range(depth):
            arrays[f"moat/block_{s:02}_{b:02}/shrink_conv/bias"] = np.zeros(width)
    path = write_arrays(tmp_path / "w.npz", arrays, "npz")
    assert problem("moat_0", path).endswith("; this file is of tiny_moat_2")


@pytest.mark.parametrize("model", ["moat_0", "maxvit_tiny"])
def test_families_are_told_apart(model, files, tmp_path):
    other = load_case("tf_micro").write_checkpoint(tmp_path / "maxvit.npz", "npz")
    path = other if model == "moat_0" else files["bias"]
    assert "is of another architecture" in problem(model, path)


def test_own_format_brings_its_fields(named, files, tmp_path):
    windows = (None, None, (3, 5), None)
    model, variables = maxvit_jax.load_pretrained(named, files["no bias"], window_size=windows)
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables)
    again, same, report = maxvit_jax.load_with_report(named, tmp_path / "own")
    assert again == model and again.window_size == windows and not again.relative_bias
    assert hash(again) == hash(model)  # as jax.jit asks for
    assert not report.resized and not report.fresh
    assert_same(flatten(same), flatten(variables))
