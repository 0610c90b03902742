"""The prefix after which names fit a model is found in every format, and what is left is named."""

import numpy as np
import pytest

import maxim_jax
import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from tests.golden.cases import write_arrays
from tests.golden.weights import make_variables

SMALL = {"maxvit_tiny": {"stem_widths": (8, 8), "widths": (32,), "depths": (1,)}}
SMALL["poolformerv2_s12"] = {"widths": (8, 16), "depths": (1, 1), "mixers": ("pool",) * 2}
SMALL["poolformerv2_s12"]["scaled_residuals"] = ()


@pytest.fixture(scope="module", params=SMALL)
def made(request):
    """A name, fields, variables, and their names in timm."""
    name, fields = request.param, SMALL[request.param]
    model = maxvit_jax.create_model(name, num_classes=4, **fields)
    variables = make_variables(model, maxvit_jax.example_images(model))
    return name, fields, variables, maxvit_jax.export_weights(model, variables, "timm")


def assert_read(made, path, prefix, left=()):
    name, fields, variables, _ = made
    model, found, report = maxvit_jax.load_with_report(name, path, **fields)
    assert model.num_classes == 4 and report.file.prefix == prefix
    assert not prefix or f"its names begin with {prefix}" in str(report)
    assert set(report.left) == set(left)
    for key, array in flatten(found).items():
        np.testing.assert_array_equal(array, flatten(variables)[key])


PREFIXES = (
    *("module.", "model.", "net.", "backbone.", "timm_model.", "0.", "a/b/", "student.encoder.x."),
    *("_orig_mod.", "_orig_mod.module.", "model._orig_mod.", "_fsdp_wrapped_module.module."),
)


@pytest.mark.parametrize("fmt", ["npz", "safetensors", "pth"])
def test_every_prefix_in_every_format(made, fmt, tmp_path):
    for i, prefix in enumerate(PREFIXES):
        arrays = {prefix + n: a for n, a in made[3].items()}
        beside = {"criterion.weight": np.ones(4, np.float32), "n_averaged": np.array(7)}
        path = write_arrays(tmp_path / f"{i}", {**arrays, **beside}, fmt)
        known = prefix.replace("_orig_mod.", "").replace("_fsdp_wrapped_module.", "")
        if known:  # without one they would be of the model itself
            assert_read(made, path, known, beside)
    arrays = {n.replace("0.", "0._checkpoint_wrapped_module.", 1): a for n, a in made[3].items()}
    assert_read(made, write_arrays(tmp_path / "inner", arrays, fmt), "")


def test_dicts_in_dicts_of_pytorch(made, tmp_path):
    import torch

    state = {n: torch.from_numpy(a.copy()) for n, a in made[3].items()}
    zeros = {n: torch.zeros_like(t) for n, t in state.items()}
    for content, prefix in (
        ({"network": state, "step": 1}, "network."),
        ({"state_dict": {"model": state}, "optimizer": {"state": {0: zeros}}}, ""),
        ({"weights": {"net": state, "loss": {"w": torch.ones(2)}}}, "weights.net."),
        ({"model": zeros, "ema": {"decay": 0.9, "shadow": state}}, "shadow."),
        ({"model": state, "ema": {"decay": 0.9}}, ""),
        ({"student": {"backbone": zeros}, "teacher": {"backbone": state}}, "teacher.backbone."),
    ):
        torch.save(content, tmp_path / "x.pth")
        left = {"weights.loss.w"} if "weights" in content else set()
        left |= {f"student.backbone.{n}" for n in zeros} if "student" in content else set()
        assert_read(made, tmp_path / "x.pth", prefix, left)


def test_averages_come_first(made, tmp_path):
    zeros = {f"model.{n}": np.zeros_like(a) for n, a in made[3].items()}
    arrays = zeros | {f"model_ema.module.{n}": a for n, a in made[3].items()}
    path = write_arrays(tmp_path / "x", arrays, "safetensors")
    assert_read(made, path, "model_ema.module.", zeros)


def test_what_lacks_under_a_prefix_is_named(made, tmp_path):
    name, fields, _, state = made
    last = list(state)[-1]
    arrays = {f"net.{n}": a for n, a in state.items() if n != last}
    path = write_arrays(tmp_path / "x", arrays, "npz")
    with pytest.raises(UserError, match="1 missing"):
        maxvit_jax.load_pretrained(name, path, num_classes=4, **fields)


def test_prefixes_of_restoration(tmp_path):
    fields = {"features": 4, "depth": 1, "num_bottleneck_blocks": 1, "num_groups": 1}
    fields |= {"num_supervision_scales": 1, "high_res_stages": 0}
    model = maxim_jax.create_model("maxim_s1", **fields)
    variables = make_variables(model, maxim_jax.example_images(model))
    for source, start, prefix in (
        ("official", "opt/target/", "params/"),
        ("torch", "", "net_g.module."),
        ("torch", "", "params_ema."),
    ):
        arrays = maxim_jax.export_weights(model, variables, source)
        named = {prefix + name.removeprefix(start): array for name, array in arrays.items()}
        path = write_arrays(tmp_path / "w", named, "safetensors")
        _, found, report = maxim_jax.load_with_report("maxim_s1", path, **fields)
        assert report.file.prefix == prefix and not report.left
        for key, array in flatten(found).items():
            np.testing.assert_array_equal(array, flatten(variables)[key])
