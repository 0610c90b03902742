"""MaxViT weights of the official release and of timm give the reference's outputs, to the limit."""

import jax
import numpy as np
import pytest

import maxvit_jax
from common.errors import UserError
from common.layers.relative_bias import resize_table
from common.weights.mapping import flatten
from maxvit_jax.models.maxvit import MaxViT
from tests.golden.cases import golden_jit, load_case, logits_and_maps, write_arrays

MICRO = load_case("tf_micro")
FINE_TUNED = load_case("tf_micro_ft384")
TABLES = "relative_bias/table"


def outputs(case, model, variables):
    @golden_jit(case.name)
    def run(variables, images):
        logits, maps = logits_and_maps(model, variables, images)
        return {**maps, "logits": logits}

    return run(variables, case.images())


def assert_golden(case, model, variables):
    errors = case.compare(outputs(case, model, variables))
    assert {"logits", "stem", "stage_1", "stage_2"} <= errors.keys()
    assert max(errors.values()) < 1, errors


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


@pytest.fixture(scope="module")
def micro():
    return MaxViT(**MICRO.fields())


@pytest.fixture(scope="module")
def files(micro, tmp_path_factory):
    """The micro model's weights under both foreign namings."""
    folder = tmp_path_factory.mktemp("weights")
    official = MICRO.write_checkpoint(folder / "official.npz", "npz")
    _, variables = maxvit_jax.load_pretrained(micro, official)
    state = maxvit_jax.export_weights(micro, variables, "timm")
    return {
        "official": official,
        "timm": write_arrays(folder / "timm.safetensors", state, "safetensors"),
    }


def problem(model, path, **overrides):
    with pytest.raises(UserError) as info:
        maxvit_jax.load_pretrained(model, path, **overrides)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("fmt", ["tf", "tf with averages"])
def test_checkpoints_hold_the_arrays_of_npz_files(fmt, micro, files, tmp_path):
    """Which give the official outputs: tests/models/test_maxvit.py."""
    fmt, ema = fmt.split()[0], "averages" in fmt
    path = MICRO.write_checkpoint(tmp_path / "model", fmt, ema=ema)
    loaded, expected = (maxvit_jax.load_pretrained(micro, f)[1] for f in (path, files["official"]))
    assert_same(flatten(loaded), flatten(expected))


def test_fine_tuned_golden_with_tables_resized(tmp_path):
    """As they are loaded; as they are used: tests/models/test_maxvit.py."""
    fields = FINE_TUNED.fields() | {"bias_window_size": None}
    path = FINE_TUNED.write_checkpoint(tmp_path / "model", "tf", ema=True)
    model, variables, report = maxvit_jax.load_with_report(MaxViT(**fields), path)
    assert len(report.resized) == 4
    shapes = {a.shape[1:] for n, a in flatten(variables).items() if n.endswith(TABLES)}
    assert shapes == {(23, 23)}
    assert_golden(FINE_TUNED, model, variables)


def test_timms_names_go_both_ways():
    """Of the whole model, as timm wrote them; its outputs are below."""
    case = load_case("timm_maxvit_tiny_tf_224")
    model = maxvit_jax.create_model("maxvit_tiny", **case.fields())
    table = maxvit_jax.FAMILIES["maxvit"].weights.tables(model)["timm"]
    assert len(case.shapes) > 500
    for name in case.shapes:
        assert table.theirs(table.ours(name))[0] == (name,), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fmt"),
    [("tf_tiny_224", "tf with averages"), ("timm_maxvit_tiny_tf_224", "safetensors")],
)
def test_tiny_golden(name, fmt, tmp_path):
    case = load_case(name)
    fmt, ema = fmt.split()[0], "averages" in fmt
    path = case.write_checkpoint(tmp_path / "model", fmt, ema=ema)
    model, variables = maxvit_jax.load_pretrained("maxvit_tiny", path)
    assert_golden(case, model, variables)
    source = "official" if fmt == "tf" else "timm"
    assert_same(maxvit_jax.export_weights(model, variables, source), case.variables())


def test_round_trips_are_exact(micro, files):
    _, variables = maxvit_jax.load_pretrained(micro, files["official"])
    assert_same(maxvit_jax.export_weights(micro, variables, "official"), MICRO.variables())
    _, through_timm = maxvit_jax.load_pretrained(micro, files["timm"])
    assert_same(flatten(through_timm), flatten(variables))
    assert list(flatten(variables)) == list(flatten(through_timm))
    assert jax.tree.structure(variables) == jax.tree.structure(
        jax.eval_shape(micro.init, jax.random.key(0), MICRO.images())
    )
    with pytest.raises(UserError, match="unknown weight source 'tim'"):
        maxvit_jax.export_weights(micro, variables, "tim")


def test_eager_names_without_prefix(micro, files, tmp_path):
    arrays = {}
    for name, array in MICRO.variables().items():
        for prefix in ("maxvit/stem/", "maxvit/cls_head/"):
            name = name.removeprefix(prefix)
        arrays[f"{name}:0"] = array
    assert "conv_0/kernel:0" in arrays and "logit_dense/bias:0" in arrays
    path = write_arrays(tmp_path / "eager.npz", arrays, "npz")
    _, variables = maxvit_jax.load_pretrained(micro, path)
    assert_same(
        flatten(variables), flatten(maxvit_jax.load_pretrained(micro, files["official"])[1])
    )


@pytest.mark.parametrize("source", ["official", "timm"])
def test_another_window_resizes_tables(source, micro, files):
    model, variables, report = maxvit_jax.load_with_report(micro, files[source], window_size=6)
    assert model.window_size == 6
    # grid_size is a field of this model and stays: half of the tables.
    assert len(report.resized) == 3 and "3 relative-bias tables resized from 7x7 to 11x11" in str(
        report
    )
    _, base = maxvit_jax.load_pretrained(micro, files[source])
    name = "params/stage_1_block_0/window/attention/relative_bias/table"
    np.testing.assert_allclose(
        flatten(variables)[name], resize_table(flatten(base)[name], (6, 6)), atol=1e-6
    )
    # Tables that fit already, as in timm's files for 384 and 512, are taken as they are.
    state = maxvit_jax.export_weights(model, variables, "timm")
    assert state["stages.0.blocks.0.attn_block." + "attn.rel_pos.relative_position_bias_table"][
        0
    ].shape == (11, 11)


def test_tables_that_fit_are_not_resized(micro, files, tmp_path):
    model, variables = maxvit_jax.load_pretrained(micro, files["timm"], window_size=6)
    state = maxvit_jax.export_weights(model, variables, "timm")
    path = write_arrays(tmp_path / "w", state, "safetensors")
    _, again, report = maxvit_jax.load_with_report(model, path)
    assert not report.resized
    assert_same(flatten(again), flatten(variables))


@pytest.mark.parametrize("source", ["official", "timm"])
def test_another_number_of_classes(source, micro, files):
    seven = micro.clone(num_classes=7)
    message = problem(seven, files[source])
    assert "[10], not [7]" in message and "num_classes=7 as an argument" in message

    model, variables, report = maxvit_jax.load_with_report(micro, files[source], num_classes=7)
    assert model.num_classes == 7
    assert set(report.fresh) == {"params/head/logits/kernel", "params/head/logits/bias"}
    assert len(report.left) == 2 and "freshly initialised" in str(report)
    logits = variables["params"]["head"]["logits"]
    assert logits["kernel"].shape == (64, 7) and not logits["bias"].any()
    assert 0.015 < np.std(logits["kernel"]) < 0.025
    _, base = maxvit_jax.load_pretrained(micro, files[source])
    for name, array in flatten(variables).items():
        if name not in report.fresh:
            np.testing.assert_array_equal(array, flatten(base)[name])

    model, variables, report = maxvit_jax.load_with_report(micro, files[source], num_classes=0)
    assert variables["params"]["head"].keys() == {"norm"} and len(report.left) == 4
    assert jax.eval_shape(model.apply, variables, MICRO.images()).shape == (2, 64)
    assert maxvit_jax.load_with_report(micro.clone(num_classes=0), files[source])[2].left


def test_classes_of_a_named_model_follow_the_file(monkeypatch, micro, files):
    fields = {k: v for k, v in MICRO.fields().items() if k != "num_classes"}
    monkeypatch.setitem(maxvit_jax.FAMILIES["maxvit"].variants, "maxvit_micro", fields)
    model, variables = maxvit_jax.load_pretrained("maxvit_micro", files["timm"])
    assert model.num_classes == 10
    assert variables["params"]["head"]["logits"]["bias"].shape == (10,)


def test_files_without_a_classifier(micro, tmp_path):
    arrays = {n: a for n, a in MICRO.variables().items() if "logit_dense" not in n}
    path = write_arrays(tmp_path / "w.npz", arrays, "npz")
    message = problem(micro, path)
    assert "2 missing" in message and "no classes" in message
    _, _, report = maxvit_jax.load_with_report(micro, path, num_classes=10)
    assert len(report.fresh) == 2
    _, variables = maxvit_jax.load_pretrained(micro, path, num_classes=0)
    assert variables["params"]["head"].keys() == {"norm"}


@pytest.mark.parametrize("source", ["official", "timm"])
def test_arrays_missing_left_over_misshaped_or_not_finite(source, micro, files, tmp_path):
    _, variables = maxvit_jax.load_pretrained(micro, files[source])
    good = maxvit_jax.export_weights(micro, variables, source)
    first = {"official": "maxvit/stem/conv_0/kernel", "timm": "stem.conv1.weight"}[source]

    def attempt(change):
        arrays = {n: a.copy() for n, a in good.items()}
        change(arrays)
        return problem(micro, write_arrays(tmp_path / "w.npz", arrays, "npz"))

    assert f"1 missing ({first})" in attempt(lambda a: a.pop(first))
    assert "1 unexpected (extra)" in attempt(lambda a: a.update(extra=np.zeros(1)))
    assert f"1 mis-shaped ({first} [1], not [" in attempt(lambda a: a.update({first: np.zeros(1)}))
    assert f"array {first} holds NaN" in attempt(lambda a: a[first].fill(np.inf))


def test_another_variant_is_named(micro, files):
    message = problem("maxvit_tiny", files["timm"])
    assert "custom model with widths (32, 64), depths (1, 2)" in message
    deeper = {**maxvit_jax.FAMILIES["maxvit"].variants["maxvit_base"], "num_classes": 1}
    weights = {"final_layer_norm/gamma": np.zeros(768)}
    for s, (width, depth) in enumerate(zip(deeper["widths"], deeper["depths"], strict=True)):
        for b in range(depth):
            weights[f"block_{s:02}_{b:02}/attn_layer_norm/gamma"] = np.zeros(width)
    path = write_arrays(
        files["timm"] + ".base.npz", {f"maxvit/{n}": a for n, a in weights.items()}, "npz"
    )
    assert problem("maxvit_tiny", path).endswith("; this file is of maxvit_base")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("relative_position_bias_table", (49, 2)), ("mlp.fc1.weight", (512, 2))],
)
def test_timms_own_architectures_are_told_apart(name, shape, micro, files, tmp_path):
    state = {
        n: a
        for n, a in maxvit_jax.export_weights(
            micro, maxvit_jax.load_pretrained(micro, files["timm"])[1], "timm"
        ).items()
        if "bias_table" not in n
    }
    state[f"stages.0.blocks.0.attn_block.attn.rel_pos.{name}"] = np.zeros(shape, np.float32)
    message = problem(micro, write_arrays(tmp_path / "rw", state, "safetensors"))
    assert "timm's own architecture" in message and "rw" in message


@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "moat/block_00_00/mbconv/kernel"])
def test_other_architectures_are_told_apart(name, micro, tmp_path):
    path = write_arrays(tmp_path / "x.npz", {name: np.zeros(3), "fc.weight": np.zeros(3)}, "npz")
    message = problem(micro, path)
    assert "of another architecture: its 2 arrays" in message and "timm names" in message


def test_own_format_brings_its_fields(monkeypatch, micro, files, tmp_path):
    fields = {k: v for k, v in MICRO.fields().items() if k not in ("num_classes", "window_size")}
    monkeypatch.setitem(maxvit_jax.FAMILIES["maxvit"].variants, "maxvit_micro", fields)
    model, variables = maxvit_jax.load_pretrained(
        "maxvit_micro", files["official"], window_size=6, grid_size=2, dtype="bfloat16"
    )
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables, class_names=["a", "b"])
    again, same, report = maxvit_jax.load_with_report("maxvit_micro", tmp_path / "own")
    assert (again.window_size, again.grid_size, again.num_classes) == (6, 2, 10)
    assert again == model.clone(dtype=again.dtype)  # how to compute is not stored
    assert not report.resized
    assert_same(flatten(same), flatten(variables))

    other, _, report = maxvit_jax.load_with_report(
        "maxvit_micro", tmp_path / "own", window_size=4, num_classes=3
    )
    assert (other.window_size, other.num_classes) == (4, 3)
    assert len(report.resized) == 3 and len(report.fresh) == 2
    assert "holds maxvit_micro, not maxvit_tiny" in problem("maxvit_tiny", tmp_path / "own")
    with pytest.raises(UserError, match="exists already"):
        maxvit_jax.save_pretrained(tmp_path / "own", model, variables)


def test_models_by_name():
    names = maxvit_jax.list_models()
    assert names[:2] == ["maxvit_tiny", "maxvit_small"]
    assert maxvit_jax.list_models("maxvit_*large") == ["maxvit_large", "maxvit_xlarge"]
    assert maxvit_jax.list_models("nothing") == []
    model = maxvit_jax.create_model("maxvit_tiny", num_classes=3, dtype="bfloat16", depths=[1] * 4)
    assert (model.num_classes, model.dtype, model.depths) == (3, "bfloat16", (1, 1, 1, 1))
    with pytest.raises(UserError, match="unknown model 'maxvit_tiney': did you mean 'maxvit_tiny'"):
        maxvit_jax.create_model("maxvit_tiney")
    with pytest.raises(UserError, match="no field 'num_clases': did you mean 'num_classes'"):
        maxvit_jax.create_model("maxvit_tiny", num_clases=3)
    with pytest.raises(UserError, match="unknown dtype 'float17'"):
        maxvit_jax.create_model("maxvit_tiny", dtype="float17")
