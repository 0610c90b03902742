"""AEWin: without reference code, against the definition and the published numbers."""

import functools
import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.layers.axial_window_attention import AxialWindowAttention, attend_within
from common.layers.relative_bias import resize_table
from launch.tools.model_table import count_macs
from maxvit_jax.models.aewin import VARIANTS, AEWin
from tests.models.test_every_model import PARAMETERS

PUBLISHED_MILLIONS = {"aewin_tiny": 22, "aewin_small": 35, "aewin_base": 77}
MICRO = {
    "widths": (16, 32),
    "depths": (1, 1),
    "heads": (4, 8),
    "window_size": 4,
    "image_size": 32,
    "num_classes": 5,
}


def random_variables(module, *inputs):
    """Values away from zero, also of biases and tables; scales are about one."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)

    def value(path, leaf):
        offset = "scale" in jax.tree_util.keystr(path)
        return np.asarray(offset + 0.3 * rng.standard_normal(leaf.shape), np.float32)

    return jax.tree_util.tree_map_with_path(value, shapes)


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@functools.cache
def micro(size=(32, 48), **fields):
    """A tiny model, its variables and images."""
    model = AEWin(**{**MICRO, **fields})
    images = normal(2, *size, 3)
    return model, random_variables(model, images), images


# ---------------------------------------------------------------- the attention


def test_each_group_of_heads_sees_its_own_part_of_the_map():
    """Gradients of one output position: a row, a column, a window of the 14 x 14 map."""
    module = AxialWindowAttention(heads=8)
    x = normal(1, 14, 14, 16)
    params = random_variables(module, x)["params"]

    @jax.jit
    def influence(heads, at):
        """What moves the output of some heads at a position; the probe weighs its channels."""
        out = params["out"] | {"kernel": params["out"]["kernel"] * heads[:, None, None]}

        def output(x):
            y = module.apply({"params": params | {"out": out}}, x)
            return jnp.sin(y[0, at[0], at[1]]).sum()

        return jnp.abs(jax.grad(output)(x)[0]).max(-1)

    row, column = np.indices((14, 14))
    for i, j in ((0, 0), (3, 9), (13, 6)):
        window = (row // 7 == i // 7) & (column // 7 == j // 7)
        parts = {"0:2": row == i, "2:4": column == j, "4:8": window}
        for heads, part in parts.items():
            chosen = np.zeros(8, np.float32)
            chosen[slice(*map(int, heads.split(":")))] = 1
            np.testing.assert_array_equal(influence(chosen, jnp.array([i, j])) > 0, part)
        everything = np.any(list(parts.values()), axis=0)
        np.testing.assert_array_equal(influence(np.ones(8), jnp.array([i, j])) > 0, everything)


def test_one_window_is_full_attention_and_a_stripe_that_of_its_line():
    """Four heads, and the map one window."""
    side, head_dim = 6, 5
    module = AxialWindowAttention(heads=4, window_size=side)
    x = normal(2, side, side, 4 * head_dim)
    params = random_variables(module, x)["params"]
    identity = np.eye(4 * head_dim).reshape(4, head_dim, -1)
    out = {"kernel": identity, "bias": np.zeros(4 * head_dim)}
    y = jax.jit(module.apply)({"params": params | {"out": out}}, x)
    rows, columns, *windows = np.split(np.asarray(y), 4, axis=-1)

    qkv = np.einsum("nijc,cthd->htnijd", x, params["qkv"]["kernel"])
    qkv += params["qkv"]["bias"].transpose(1, 0, 2)[:, :, None, None, None]
    reference = jax.jit(jax.nn.dot_product_attention)

    def attention(qkv, bias):
        """Of a head's `[3, batch, row, column, head_dim]`; `bias` is `[query, key]`."""
        q, k, v = (a.reshape(-1, len(bias), 1, head_dim) for a in qkv)
        return np.asarray(reference(q, k, v, bias=bias[None, None])).reshape(qkv[0].shape)

    offset = np.arange(side) - np.arange(side)[:, None] + side - 1  # key minus query
    table = {name: params[f"{name}_bias"]["table"] for name in ("horizontal", "vertical", "window")}
    expected = attention(qkv[0], table["horizontal"].ravel()[offset])
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    swapped = attention(qkv[1].swapaxes(2, 3), table["vertical"].ravel()[offset])
    np.testing.assert_allclose(columns, swapped.swapaxes(1, 2), atol=1e-5)
    for head, window in enumerate(windows):
        pairs = table["window"][head][offset[:, None, :, None], offset[None, :, None, :]]
        full = attention(qkv[2 + head], pairs.reshape(side**2, side**2))
        np.testing.assert_allclose(window, full, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (14, 42)])
def test_cost_is_that_of_the_papers_formula(height, width):
    heads, window, tokens = 8, 7, height * width

    def attention_macs(channels):
        return tokens * channels * (height / 2 + width / 2 + window**2)

    # The layer's products, counted exactly.
    channels = 8 * heads
    module = AxialWindowAttention(heads)
    x = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    class OnMap:  # `count_macs` makes images of three channels
        @staticmethod
        def apply(variables, images):
            return module.apply(variables, jnp.zeros(x.shape))

    assert count_macs(OnMap, variables, 8) == 4 * tokens * channels**2 + attention_macs(channels)

    # XLA's count of the attention alone. That of the softmax depends on heads only: subtracted.
    def flops(head_dim):
        def contraction(qkv):
            rows, columns, windows = jnp.split(qkv, (heads // 4, heads // 2), axis=-2)
            return (
                attend_within(rows, (1, width)),
                attend_within(columns, (height, 1)),
                attend_within(windows, (window, window)),
            )

        shape = (1, height, width, 3, heads, head_dim)
        qkv = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.jit(contraction).lower(qkv).compile().cost_analysis()["flops"]

    macs = (flops(32) - flops(16)) / 2
    assert macs == pytest.approx(attention_macs(16 * heads), rel=0.02)


def test_windows_that_stick_out_attend_to_the_map_alone():
    """The last window of a 9 x 10 map holds 2 x 3 positions: as if it were that large."""
    attend = jax.jit(attend_within, static_argnums=1)
    qkv = normal(2, 9, 10, 3, 2, 4)
    y = attend(qkv, (7, 7))
    assert y.shape == (2, 9, 10, 2, 4)
    np.testing.assert_allclose(y[:, 7:, 7:], attend(qkv[:, 7:, 7:], (2, 3)), rtol=1e-5, atol=1e-6)


def test_wider_stripes():
    """Two rows together on a map of seven: the last is alone, and is attended to as a line."""
    wide = AxialWindowAttention(heads=4, window_size=2, stripe_width=2)
    x = normal(1, 7, 8, 8)
    params = random_variables(wide, x)["params"]
    assert params["horizontal_bias"]["table"].shape == (1, 3, 15)
    assert params["vertical_bias"]["table"].shape == (1, 13, 3)
    only_rows = params["out"]["kernel"] * np.float32([1, 0, 0, 0])[:, None, None]
    params = params | {"out": params["out"] | {"kernel": only_rows}}
    apply = jax.jit(wide.apply)
    y, emptied = (np.asarray(apply({"params": params}, a)) for a in (x, x * (x != x[:, 1:2])))
    assert not np.allclose(y[:, 0], emptied[:, 0])  # sees the row below
    np.testing.assert_array_equal(y[:, 2:], emptied[:, 2:])
    narrow = params | {
        "horizontal_bias": {"table": params["horizontal_bias"]["table"][:, 1:2]},
        "vertical_bias": {"table": params["vertical_bias"]["table"][:, :, 1:2]},
    }
    lines = np.asarray(jax.jit(wide.clone(stripe_width=1).apply)({"params": narrow}, x))
    np.testing.assert_allclose(y[:, 6], lines[:, 6], rtol=1e-5, atol=1e-6)


def test_stripe_tables_are_resized_by_linear_interpolation():
    """Their 2n - 1 entries spread evenly, the centre stays."""
    table = np.random.default_rng(0).standard_normal((2, 1, 13)).astype(np.float32)
    for side in (4, 7, 12):
        entries = 2 * side - 1
        at = (np.arange(entries) - (side - 1)) * 13 / entries + 6
        expected = [np.interp(at, np.arange(13), row[0]) for row in table]
        resized = resize_table(table, (1, side))
        np.testing.assert_allclose(resized[:, 0], expected, atol=1e-5)
        np.testing.assert_allclose(resized[:, 0, side - 1], table[:, 0, 6], rtol=1e-6)


@pytest.mark.parametrize(
    ("heads", "channels", "message"),
    [(6, 12, "6 heads don't divide into quarters"), (8, 12, "12 channels don't divide by 8")],
)
def test_heads_that_do_not_divide(heads, channels, message):
    with pytest.raises(UserError, match=message):
        AxialWindowAttention(heads).init(jax.random.key(0), jnp.zeros((1, 7, 7, channels)))


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts(name):
    """Near the published ones, and block by block the same for every size of image."""
    assert PARAMETERS[name] == pytest.approx(PUBLISHED_MILLIONS[name] * 1e6, rel=0.05)
    model = maxvit_jax.create_model(name, depths=(1, 1, 1, 1))
    variables, large = (
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size, 3), "f4"))
        for size in ((64, 96), (224, 224))
    )
    assert variables == large
    tables = [variables["params"][f"stage_{s}_block_0"]["attention"] for s in (1, 2, 3, 4)]
    assert [t["horizontal_bias"]["table"].shape[2] for t in tables] == [111, 55, 27, 13]
    assert [t["vertical_bias"]["table"].shape[1] for t in tables] == [111, 55, 27, 13]
    assert {t["window_bias"]["table"].shape[1:] for t in tables} == {(13, 13)}


def test_heads_are_divided_and_mixed_in_the_papers_order():
    """A quarter, a quarter, a half; one projection before and one after."""
    _, variables, _ = micro()
    attention = variables["params"]["stage_2_block_0"]["attention"]
    assert attention["qkv"]["kernel"].shape == (32, 3, 8, 4)
    assert attention["out"]["kernel"].shape == (8, 4, 32)
    names = ("horizontal_bias", "vertical_bias", "window_bias")
    assert [attention[name]["table"].shape[0] for name in names] == [2, 2, 4]


@pytest.mark.parametrize("size", [(32, 48), (29, 43), (70, 5)])
def test_features_have_their_strides_at_any_size(size):
    model, variables, _ = micro()
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    maps = jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, images)
    assert list(maps) == ["stage_1", "stage_2"] == list(model.feature_strides)
    for width, (name, stride) in zip((16, 32), model.feature_strides.items(), strict=True):
        assert maps[name].shape == (2, *(math.ceil(side / stride) for side in size), width)


def test_odd_sizes_are_completed_with_zeros_at_the_bottom_and_right():
    """Embedding of a 13 x 22 image to 4 x 6 positions, merging of 3 x 5 to 2 x 3."""
    model, variables, images = micro()
    params = variables["params"]
    embed = jax.jit(lambda v, x: model.bind(v).stem(x))
    zeros = np.pad(images[:, :13, :22], ((0, 0), (0, 3), (0, 2), (0, 0)))
    kernel, bias = (params["stem"]["conv"][name] for name in ("kernel", "bias"))
    expected = np.einsum("niajbc,abcd->nijd", zeros.reshape(2, 4, 4, 6, 4, 3), kernel) + bias
    embedded = embed(variables, images[:, :13, :22])
    np.testing.assert_allclose(embedded, expected, rtol=1e-4, atol=1e-4)

    merge = jax.jit(lambda v, x: model.bind(v).merging[0](x))
    merged = merge(variables, normal(2, 3, 5, 16))
    corner = np.concatenate([normal(2, 3, 5, 16)[:, 2, 4], np.zeros((2, 48))], axis=-1)
    expected = layer_norm(corner, params["stage_2_merging"]["norm"])
    expected = expected @ params["stage_2_merging"]["reduce"]["kernel"]
    np.testing.assert_allclose(merged[:, 1, 2], expected, rtol=1e-4, atol=1e-4)


def layer_norm(x, params):
    """The definition."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * params["scale"] + params["bias"]


def test_head_normalises_the_map_before_its_mean():
    model, variables, _ = micro()
    head = variables["params"]["head"]
    x = normal(2, 3, 5, 32) + 1
    mean = layer_norm(x, head["norm"]).mean((1, 2))
    logits = mean @ head["logits"]["kernel"] + head["logits"]["bias"]
    apply = jax.jit(lambda m, v, x: m.bind(v).head(x), static_argnums=0)
    np.testing.assert_allclose(apply(model, variables, x), logits, rtol=1e-4, atol=1e-4)
    without = model.clone(num_classes=0)
    kept = {"params": variables["params"] | {"head": {"norm": head["norm"]}}}
    np.testing.assert_allclose(apply(without, kept, x), mean, rtol=1e-4, atol=1e-4)
    shapes = jax.eval_shape(without.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    assert shapes["params"]["head"].keys() == {"norm"}


def test_bfloat16_is_close_and_logits_stay_float32():
    model, variables, images = micro()
    low = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, images)
    full = jax.jit(model.apply)(variables, images)
    assert low.dtype == full.dtype == jnp.float32
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


@functools.cache
def training_gradients(**fields):
    """On odd sizes: windows, merging and tables all need their padding or resizing."""
    model, variables, images = micro((30, 44), drop_path_rate=0.5, **fields)
    images = np.concatenate([images] * 4)  # enough that no branch is dropped for all

    @jax.jit
    @jax.grad
    def gradients(variables):
        rngs = {"dropout": jax.random.key(3)}
        return jnp.sin(model.apply(variables, images, train=True, rngs=rngs)).mean()

    return jax.tree_util.tree_leaves_with_path(gradients(variables))


def test_every_parameter_gets_a_gradient():
    for path, gradient in training_gradients():
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("qkv/bias"):
            assert jnp.abs(gradient[1]).max() < 1e-5  # keys: softmax doesn't see a shift
            gradient = gradient[jnp.array([0, 2])]
        assert jnp.abs(gradient).max() > 0 and bool(jnp.isfinite(gradient).all()), name


def test_rematerialisation_changes_no_gradient():
    one_block = {"widths": (16,), "depths": (1,), "heads": (4,)}
    again = dict(training_gradients(**one_block, remat=True))
    for path, gradient in training_gradients(**one_block):
        np.testing.assert_allclose(again[path], gradient, rtol=1e-3, atol=1e-6, err_msg=str(path))


def test_stochastic_depth_grows_with_the_block():
    model = AEWin(**{**MICRO, "depths": (1, 2)}, drop_path_rate=0.4)
    rates = [block.drop_path_rate for block in model.bind({}).blocks]
    assert rates == pytest.approx([0.0, 0.2, 0.4])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": (4, 6)}, r"heads=\(4, 6\): 6 is not a multiple of 4; nearest valid: 4 or 8"),
        ({"heads": (4,)}, "heads=.*one positive number for each of 2 stages"),
        ({"widths": (16, 36)}, "36 channels don't divide by 8 heads"),
        ({"num_classes": -1}, "num_classes=-1 is negative"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0: use"),
        ({"window_size": 0}, "window_size=0 must be positive"),
        ({"image_size": 0}, "image_size=0 must be positive"),
    ],
)
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(UserError, match=message) as info:
        AEWin(**{**MICRO, **fields}).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("shape", [(1, 32, 32, 4), (32, 32, 3), (1, 0, 32, 3)])
def test_images_of_a_wrong_shape(shape):
    with pytest.raises(UserError, match=r"images must be \[batch, height, width, 3\]"):
        AEWin(**MICRO).init(jax.random.key(0), jnp.zeros(shape))
