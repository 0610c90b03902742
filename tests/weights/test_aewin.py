"""AEWin weights: our own format alone, with tables resized for other sizes."""

import jax
import numpy as np
import pytest

import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from maxvit_jax.models.aewin import AEWin
from tests.golden.cases import write_arrays

MICRO = {
    "widths": (16, 32),
    "depths": (1, 1),
    "heads": (4, 8),
    "window_size": 4,
    "image_size": 32,
    "num_classes": 5,
}


@pytest.fixture(scope="module")
def model():
    return AEWin(**MICRO)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(model, images):
    """Values at which tables matter."""
    shapes = jax.eval_shape(model.init, jax.random.key(1), images)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(0.1, 0.3, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def own(model, variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own"
    maxvit_jax.save_pretrained(path, model, variables)
    return path


def problem(model, path, **overrides):
    with pytest.raises(UserError) as info:
        maxvit_jax.load_pretrained(model, path, **overrides)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_own_format_brings_its_fields(own, model, variables):
    again, same, report = maxvit_jax.load_with_report("aewin_tiny", own)
    assert again == model and not report.resized
    for name, array in flatten(variables).items():
        np.testing.assert_array_equal(flatten(same)[name], array)


def test_another_size_resizes_tables_once_instead_of_in_every_pass(own, model, variables, images):
    larger, loaded, report = maxvit_jax.load_with_report("aewin_tiny", own, image_size=64)
    attention = loaded["params"]["stage_1_block_0"]["attention"]
    assert attention["horizontal_bias"]["table"].shape == (1, 1, 31)
    assert attention["vertical_bias"]["table"].shape == (1, 31, 1)
    assert (
        "4 relative-bias tables resized from 1x15 to 1x31, 15x1 to 31x1, 1x7 to 1x15, 7x1 to 15x1"
        in str(report)
    )
    logits = jax.jit(larger.apply)(loaded, images)
    np.testing.assert_allclose(
        logits, jax.jit(model.apply)(variables, images), rtol=1e-4, atol=1e-5
    )


def test_another_window_and_number_of_classes(own):
    _, loaded, report = maxvit_jax.load_with_report("aewin_tiny", own, window_size=7, num_classes=3)
    assert "2 relative-bias tables resized from 7x7 to 13x13" in str(report)
    assert set(report.fresh) == {"params/head/logits/kernel", "params/head/logits/bias"}
    assert loaded["params"]["head"]["logits"]["kernel"].shape == (32, 3)
    _, loaded = maxvit_jax.load_pretrained("aewin_tiny", own, num_classes=0)
    assert loaded["params"]["head"].keys() == {"norm"}


def test_what_does_not_fit_is_named(own, model):
    assert "the file has 5 classes: num_classes=7" in problem(model.clone(num_classes=7), own)
    message = problem(maxvit_jax.create_model("aewin_base", num_classes=5), own)
    assert message.endswith("; this file is of a custom model with widths (16, 32), depths (1, 1)")
    assert "not maxvit_tiny" in problem("maxvit_tiny", own)


def test_files_of_other_frameworks_are_refused(model, variables, tmp_path):
    path = write_arrays(tmp_path / "w.npz", {"layers.0.blocks.0.norm1.weight": np.zeros(3)}, "npz")
    assert "of AEWin there are no weights in another" in problem("aewin_tiny", path)
    with pytest.raises(UserError, match="unknown weight source 'timm': there are none"):
        maxvit_jax.export_weights(model, variables, "timm")
