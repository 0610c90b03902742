"""MAXIM weights of the official release and of PyTorch, to the limit and bit by bit."""

import jax
import numpy as np
import pytest

import maxim_jax
from common.errors import UserError
from common.layers.conv import UpConv
from common.weights.layouts import TORCH_UP_CONV
from common.weights.mapping import flatten
from maxim_jax.models.maxim import MAXIM
from maxvit_jax.models.maxvit import MaxViT
from tests.golden.cases import load_maxim_case, write_arrays

MICRO = load_maxim_case("micro_1stage_64x64")
TWO_STAGES = load_maxim_case("micro_2stage_64x128")
PLAIN = load_maxim_case("micro_nocross_nobias_64x64")
S2 = load_maxim_case("S-2_128x192")


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


def problem(model, path, **overrides):
    with pytest.raises(UserError) as info:
        maxim_jax.load_pretrained(model, path, **overrides)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.fixture(scope="module")
def micro():
    return MAXIM(**MICRO.fields())


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """As the release: the optimizer's state beside its target."""
    arrays = MICRO.variables()
    slots = {n.replace("target", "state/param_states"): a for n, a in arrays.items()}
    beside = {f"{n}/{slot}": a for n, a in slots.items() for slot in ("grad_ema", "grad_sq_ema")}
    path = tmp_path_factory.mktemp("weights") / "checkpoint.npz"
    return write_arrays(path, arrays | beside | {"opt/state/step": np.array(7)}, "npz")


@pytest.fixture(scope="module")
def variables(micro, official):
    return maxim_jax.load_pretrained(micro, official)[1]


@pytest.fixture(scope="module")
def s2(tmp_path_factory):
    return S2.write_checkpoint(tmp_path_factory.mktemp("weights") / "s2.npz", "npz")


def test_optimizer_state_is_ignored_and_counted(micro, official):
    _, variables, report = maxim_jax.load_with_report(micro, official)
    assert report.used == 298
    assert "597 steps, slots and raw weights ignored" in str(report)
    assert_same(maxim_jax.export_weights(micro, variables, "official"), MICRO.variables())


@pytest.mark.parametrize("case", [TWO_STAGES, PLAIN], ids=lambda case: case.name)
def test_round_trips_are_exact(case, tmp_path):
    model = MAXIM(**case.fields())
    path = case.write_checkpoint(tmp_path / "w.npz", "npz")
    _, variables = maxim_jax.load_pretrained(model, path)
    assert_same(maxim_jax.export_weights(model, variables, "official"), case.variables())
    state = maxim_jax.export_weights(model, variables, "torch")
    path = write_arrays(tmp_path / "w.pth", state, "pth")
    _, again, report = maxim_jax.load_with_report(model, path)
    assert "(PyTorch, PyTorch names)" in str(report)
    assert_same(flatten(again), flatten(variables))


@pytest.mark.slow
def test_published_size(s2):
    model, variables, report = maxim_jax.load_with_report("maxim_s2", s2)
    assert model == maxim_jax.create_model("maxim_s2")
    assert report.used == 1760
    assert_same(maxim_jax.export_weights(model, variables, "official"), S2.variables())


@pytest.mark.slow
def test_largest_published_size(tmp_path):
    case = load_maxim_case("S-3_128x128")
    path = case.write_checkpoint(tmp_path / "w.npz", "npz")
    model, variables = maxim_jax.load_pretrained("maxim_s3", path)
    assert_same(maxim_jax.export_weights(model, variables, "official"), case.variables())


@pytest.mark.parametrize("fmt", ["npz", "safetensors"])
def test_parameters_alone(fmt, micro, variables, tmp_path):
    arrays = {n.removeprefix("opt/target/"): a for n, a in MICRO.variables().items()}
    path = write_arrays(tmp_path / "w", arrays, fmt)
    assert_same(flatten(maxim_jax.load_pretrained(micro, path)[1]), flatten(variables))


def test_numbered_layers_are_where_the_release_counts_them(tmp_path):
    """At depth 2, level 1 comes first; a skip connection counts the finest source first."""
    arrays = PLAIN.variables()
    path = PLAIN.write_checkpoint(tmp_path / "w.npz", "npz")
    _, variables = maxim_jax.load_pretrained(MAXIM(**PLAIN.fields()), path)
    stage = flatten(variables["params"]["stage_2"])
    for ours, theirs in [
        ("skip_proj_0_1", "UpSampleRatio_8/Conv_0"),
        ("skip_proj_1_0", "UpSampleRatio_11/Conv_0"),
        ("decoder_proj_1_1", "UpSampleRatio_12/Conv_0"),
        ("decoder_proj_0_0", "UpSampleRatio_15/Conv_0"),
        ("skip_fusion_0/proj", "Conv_6"),
    ]:
        np.testing.assert_array_equal(
            stage[f"{ours}/kernel"], arrays[f"opt/target/{theirs}/kernel"][0, 0]
        )


def test_torch_names_and_layouts(micro, variables):
    state = maxim_jax.export_weights(micro, variables, "torch")
    shapes = {
        "stage_0_input_conv_0.weight": (8, 3, 3, 3),
        "stage_0_encoder_block_0.Conv_0.weight": (8, 16, 1, 1),
        "stage_0_encoder_block_0.channel_attention_block_10.LayerNorm.gamma": (8,),
        "stage_0_global_block_0.channel_attention_block_1_0.channel_mixing.Dense_0.weight": (
            16,
            16,
        ),
        "stage_0_encoder_block_0.SplitHeadMultiAxisGmlpLayer_0.BlockGmlpLayer.BlockGatingUnit"
        ".intermediate_layernorm.beta": (8,),
        "stage_0_cross_gating_block_0.ConvTranspose_0.weight": (16, 8, 2, 2),
        "UpSampleRatio_7.Conv_0.bias": (8,),
    }
    assert {name: state[name].shape for name in shapes} == shapes
    grid = "encoder_0/multi_axis_0/grid/gating/spatial/kernel"
    np.testing.assert_array_equal(
        state[
            "stage_0_encoder_block_0.SplitHeadMultiAxisGmlpLayer_0.GridGmlpLayer.GridGatingUnit"
            ".Dense_0.weight"
        ],
        flatten(variables)[f"params/stage_1/{grid}"].T,
    )


def test_torch_up_convolution_is_the_same_function():
    import torch

    x = np.random.RandomState(0).randn(1, 3, 5, 4).astype(np.float32)
    layer = UpConv(6)
    variables = layer.init(jax.random.key(0), x)
    (weight,) = TORCH_UP_CONV.to_theirs(np.asarray(variables["params"]["kernel"]))
    theirs = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(weight.copy()), stride=2
    )
    np.testing.assert_allclose(
        layer.apply(variables, x), theirs.numpy().transpose(0, 2, 3, 1), atol=1e-5
    )


def test_layers_that_the_port_never_calls_are_left(micro, variables, tmp_path):
    state = maxim_jax.export_weights(micro, variables, "torch")
    idle = [
        "stage_1_input_catconv_0.weight",
        "stage_0_encoder_block_0.cross_gating_block.in_project_x.weight",
        "stage_1_encoder_block_0.cross_gating_block.ConvTranspose_0.weight",
        "stage_1_input_fuse_sam_1.ConvTranspose_0.bias",
        "stage_1_decoder_block_0.UNetEncoderBlock_0.Conv_1.weight",
        "stage_1_decoder_block_0.UNetEncoderBlock_0.cross_gating_block.Conv_0.bias",
    ]
    extra = {name: np.zeros((0, 8, 2, 2), np.float32) for name in idle}
    path = write_arrays(tmp_path / "w.safetensors", state | extra, "safetensors")
    _, again, report = maxim_jax.load_with_report(micro, path)
    assert report.left == tuple(sorted(idle))
    assert_same(flatten(again), flatten(variables))
    extra = {"stage_1_encoder_block_0.cross_gating_block.Conv_2.weight": np.zeros(1)}
    path = write_arrays(tmp_path / "more.safetensors", state | extra, "safetensors")
    assert "1 unexpected (stage_1_encoder_block_0.cross" in problem(micro, path)


def test_arrays_missing_left_over_misshaped_or_not_finite(micro, tmp_path):
    good = MICRO.variables()
    first = "opt/target/stage_0_input_conv_1/bias"
    another = first.replace("stage_0", "stage_2")
    extra = first.replace("input_conv", "input_cone")

    def attempt(change):
        arrays = {n: a.copy() for n, a in good.items()}
        change(arrays)
        return problem(micro, write_arrays(tmp_path / "w.npz", arrays, "npz"))

    assert attempt(lambda a: a.pop(first)).endswith(f"1 missing ({first})")
    assert f"1 unexpected ({extra})" in attempt(lambda a: a.update({extra: np.zeros(1)}))
    assert f"1 not of this model ({another})" in attempt(
        lambda a: a.update({another: np.zeros(16)})
    )
    assert f"1 mis-shaped ({first} [1], not [16]" in attempt(
        lambda a: a.update({first: np.ones(1)})
    )
    assert f"array {first} holds NaN" in attempt(lambda a: a[first].fill(np.nan))


def test_another_variant_is_named(s2, official):
    assert problem("maxim_s1", s2).endswith("; this file is of maxim_s2")
    assert problem("maxim_s1", official).endswith(
        "; this file is of a custom model with features 8, depth 2, num_stages 1, num_groups 1,"
        " num_bottleneck_blocks 1"
    )


def test_other_fields_that_a_file_needs_are_named(micro, official):
    other = micro.clone(use_bias=False, use_cross_gating=False, num_supervision_scales=1)
    assert problem(other, official).endswith(
        "; the file needs a model with num_supervision_scales=2, use_bias=True,"
        " use_cross_gating=True"
    )
    message = problem(micro, official, num_supervision_scales=1)
    assert message.endswith("; the file needs a model with num_supervision_scales=2")


def test_scales_of_a_named_model_follow_the_file(monkeypatch, micro, official):
    fields = {k: v for k, v in MICRO.fields().items() if k != "num_supervision_scales"}
    monkeypatch.setitem(maxim_jax.FAMILIES["maxim"].variants, "maxim_micro", fields)
    assert maxim_jax.FAMILIES["maxim"].model.num_supervision_scales == 3
    model, _ = maxim_jax.load_pretrained("maxim_micro", official)
    assert model == micro
    message = problem("maxim_micro", official, num_supervision_scales=1)
    assert message.endswith("; the file needs a model with num_supervision_scales=2")


def test_own_format_brings_its_fields(micro, variables, tmp_path):
    maxim_jax.save_pretrained(tmp_path / "own", micro.clone(dtype="bfloat16"), variables)
    model, again, report = maxim_jax.load_with_report("maxim_s2", tmp_path / "own")
    assert model == micro  # how to compute is not stored
    assert report.source == "our names"
    assert_same(flatten(again), flatten(variables))


def test_other_architectures_are_told_apart(micro, tmp_path):
    path = write_arrays(tmp_path / "x.npz", {"maxvit/stem/conv_0/kernel": np.zeros(3)}, "npz")
    message = problem(micro, path)
    assert "are not a MAXIM's under official names or PyTorch names" in message
    with pytest.raises(UserError, match="MaxViT is not a model of maxim_jax"):
        maxim_jax.load_pretrained(MaxViT((4, 8), (32,), (1,)), path)


def test_models_by_name():
    names = ["maxim_s1", "maxim_s2", "maxim_s3", "maxim_m1", "maxim_m2", "maxim_m3"]
    assert maxim_jax.list_models() == names
    assert maxim_jax.list_models("*_m?") == names[3:]
    model = maxim_jax.create_model("maxim_m3", block_size_lr=[4, 8], dtype="bfloat16")
    assert (model.features, model.num_stages, model.num_supervision_scales) == (64, 3, 3)
    assert (model.block_size_lr, model.dtype) == ((4, 8), "bfloat16")
    assert maxim_jax.example_images(model).shape == (1, 64, 64, 3)
    with pytest.raises(UserError, match="unknown model 'maxim_s4': did you mean"):
        maxim_jax.create_model("maxim_s4")
    with pytest.raises(UserError, match="MAXIM has no field 'num_classes'"):
        maxim_jax.create_model("maxim_s2", num_classes=3)
