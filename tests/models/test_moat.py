"""MOAT against the official code, and what the official code does not have."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.kernels.gelu import exact_gelu
from common.layers.attention import WindowAttention
from common.layers.relative_bias import RelativeBias
from common.weights.layouts import STACKED_HEADS
from common.weights.mapping import flatten
from maxvit_jax.models.moat import MOAT, VARIANTS, MOATBlock
from tests.golden.cases import full_jit, golden_jit, load_case, logits_and_maps
from tests.golden.weights import make_variables, make_weight
from tests.models.test_every_model import PARAMETERS

WITHOUT_BIAS = {
    "moat_0": 27_777_544,
    "moat_1": 41_467_864,
    "moat_2": 73_248_296,
    "moat_3": 189_536_280,
    "moat_4": 482_539_368,
    "tiny_moat_0": 3_332_232,
    "tiny_moat_1": 5_094_000,
    "tiny_moat_2": 9_732_288,
    "tiny_moat_3": 19_476_600,
}
TABLE = "attention/relative_bias/table"
MICRO = {
    "stem_widths": (4, 4),
    "widths": (8, 16),
    "depths": (1, 2),
    "block_kinds": ("mbconv", "moat"),
    "bias_window_size": (None, 3),
    "head_dim": 8,
    "num_classes": 5,
}


@functools.cache
def micro():
    """A tiny model, its variables and images."""
    images = jax.random.normal(jax.random.key(0), (2, 32, 48, 3))
    model = MOAT(**MICRO)
    return model, make_variables(model, images), images


@functools.cache
def logits():
    """Of the tiny model."""
    model, variables, images = micro()
    return jax.jit(model.apply)(variables, images)


def assert_golden(name, folder):
    """The outputs under the stored limits; returns their names."""
    case = load_case(name, "moat")
    path = case.write_checkpoint(folder / name, "npz")
    model, variables = maxvit_jax.load_pretrained(MOAT(**case.fields()), path)

    @golden_jit(name)
    def run(variables, images):
        logits, maps = logits_and_maps(model, variables, images)
        return {**maps, "res5": exact_gelu(maps["stage_4"]), "logits": logits}

    outputs = run(variables, case.images())
    errors = case.compare({name: outputs[name] for name in case.expected})
    assert {"stem", "stage_1", "stage_2", "stage_3", "stage_4", "res5"} <= errors.keys()
    assert max(errors.values()) < 1, errors
    return errors.keys()


@pytest.mark.parametrize(
    "name", ["micro_cls", "micro_nope", "micro_window", "micro_window_globallast"]
)
def test_outputs_are_the_official_ones(name, tmp_path):
    assert "logits" in assert_golden(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_moat0_256", "tiny_moat0_window_448x672"])
def test_outputs_of_full_size_are_the_official_ones(name, tmp_path):
    assert_golden(name, tmp_path)


@pytest.mark.parametrize("name", ["14x14", "5x9_from14", "16x20_from14"])
def test_attention_is_the_official_one(name):
    """Also where the tables are shrunk and enlarged; they are scaled up to matter."""
    case = load_case(f"attention_{name}", "moat")
    c, shape, arrays = case.config, case.manifest["input"]["shape"], {}
    for full, array in case.variables().items():
        arrays[full.partition("/attention/")[2]] = array
    x = make_weight("input/features", shape, case.weight_seed)
    x = (x * np.sqrt(np.prod(shape) / max(shape))).reshape(shape[0], 1, -1, shape[-1])

    def stacked(kind):
        return STACKED_HEADS.to_ours([arrays[f"{n}/{kind}"] for n in "qkv"], ())

    bias = {"table": 20 * arrays["relative_position_embedding"]}
    params = {
        "qkv": {"kernel": stacked("weight"), "bias": stacked("bias")},
        "out": {"kernel": arrays["o/weight"], "bias": arrays["o/bias"]},
        "relative_bias": bias,
    }
    window, stored = tuple(c["window"]), (c["position_embedding_size"],) * 2
    heads = c["hidden_size"] // c["head_size"]
    attention = WindowAttention(window, c["head_size"], stored)
    relative_bias = RelativeBias(heads, window, stored)
    outputs = {
        "output": full_jit(attention.apply)({"params": params}, x)[:, 0],
        "bias": full_jit(relative_bias.apply)({"params": bias}),
    }
    errors = case.compare(outputs)
    assert errors.keys() == case.expected.keys() and max(errors.values()) < 1, errors


def abstract_arrays(model):
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return flatten(jax.eval_shape(model.init, jax.random.key(0), images))


@pytest.mark.parametrize("name", VARIANTS)
def test_parameter_counts_without_position_bias(name):
    """The tables make the difference: alike in all blocks of a stage, of which one is traced."""
    model = maxvit_jax.create_model(name)
    arrays = abstract_arrays(model.clone(depths=(1,) * len(model.depths)))
    tables = 0
    for stage, depth in enumerate(model.depths, start=1):
        table = arrays.get(f"params/stage_{stage}_block_0/{TABLE}")
        tables += depth * (table.size if table else 0)
    assert PARAMETERS[name] - tables == WITHOUT_BIAS[name]


def test_without_position_bias_only_the_tables_are_missing():
    arrays, without = (
        abstract_arrays(maxvit_jax.create_model("tiny_moat_0", relative_bias=relative_bias))
        for relative_bias in (True, False)
    )
    assert {n: a for n, a in arrays.items() if not n.endswith(TABLE)} == without


def test_features_have_their_strides_at_any_size():
    """Also where maps are odd: of an image of 37 x 71 the last one has 5 x 9 positions."""
    model, variables, _ = micro()
    images = jax.ShapeDtypeStruct((1, 37, 71, 3), jnp.float32)
    apply = functools.partial(model.apply, method="features")
    maps = jax.eval_shape(apply, variables, images)
    assert list(maps) == ["stem", "stage_1", "stage_2"] == list(model.feature_strides)
    for name, stride in model.feature_strides.items():
        assert maps[name].shape[1:3] == (-(-37 // stride), -(-71 // stride))


def test_without_classes_ends_after_the_norm():
    _, variables, images = micro()
    model = MOAT(**{**MICRO, "num_classes": 0})
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert set(shapes["params"]["head"]) == {"norm"}
    pooled = jax.jit(model.apply)(variables, images)
    assert pooled.shape == (2, 16)
    norm = variables["params"]["head"]["norm"]
    normalised = (pooled - norm["bias"]) / norm["scale"]
    np.testing.assert_allclose(normalised.mean(-1), 0, atol=1e-3)
    np.testing.assert_allclose(normalised.std(-1), 1, atol=1e-3)


def test_attention_is_of_the_whole_map_or_of_windows():
    """What a corner of the map depends on, in an odd map and in one of 2 x 3 windows."""

    def reached(window, side):
        block = MOATBlock(8, 1, window=window, head_dim=8, bias_window=(3, 3))
        x = jax.random.normal(jax.random.key(3), (1, *side, 8))
        variables = make_variables(block, x, train=False)

        @jax.jit
        @jax.grad
        def gradient(x):
            return jnp.sum(block.apply(variables, x, False)[0, 0, 0])

        return np.abs(gradient(x)[0]).max(-1) > 0

    assert reached(None, (5, 9)).all()
    # The window of 4 x 3, and a pixel more of the depthwise convolution.
    expected = np.zeros((8, 9), bool)
    expected[:5, :4] = True
    np.testing.assert_array_equal(reached((4, 3), (8, 9)), expected)


def test_last_blocks_of_stages_can_be_global():
    model = MOAT(
        **{**MICRO, "block_kinds": ("moat", "moat"), "bias_window_size": (4, 4), "depths": (1, 2)},
        window_size=((4, 3), (2, 3)),
    )

    def windows(model):
        return [block.window for block in model.bind({}).blocks]

    assert windows(model) == [(4, 3), (2, 3), (2, 3)]
    assert windows(model.clone(global_attention_at_end=True)) == [None, (2, 3), None]


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({}, (224, 200), "width 200 .*stage_3, .* stride 16 .* 14; nearest valid: 224 "),
        ({}, (500, 448), "height 500 .* nearest valid: 448 or 672 "),
        ({"window_size": (None, None, (3, 5), (2, 5))}, (192, 250), "nearest valid: 160 or 320 "),
        # Of a stage of one block that is global, the window does not matter.
        ({"global_attention_at_end": True, "depths": (1, 1, 1, 1)}, (224, 200), None),
        ({"pad_inputs": True}, (224, 200), None),
    ],
)
def test_sizes_that_do_not_fit_name_the_nearest(fields, size, message):
    fields = {"window_size": (None, None, 14, None), "depths": (1, 1, 2, 1), **fields}
    model = maxvit_jax.create_model("tiny_moat_0", **fields)
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    if message is None:
        jax.eval_shape(model.init, jax.random.key(0), images)
        return
    with pytest.raises(UserError, match=message) as info:
        jax.eval_shape(model.init, jax.random.key(0), images)
    assert "\n" not in str(info.value)
    multiple = model.size_multiple
    fits = jax.ShapeDtypeStruct((1, multiple, 2 * multiple, 3), jnp.float32)
    jax.eval_shape(model.init, jax.random.key(0), fits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem_widths": (8,)}, "stem_widths=.*: two positive"),
        ({"window_size": 7}, "window_size=7: one per stage"),
        ({"bias_window_size": None}, "bias_window_size=None: one per stage"),
        ({"head_dim": 0}, "head_dim=0"),
        ({"window_size": (None,)}, "window_size=.* one per stage .* 2 stages"),
        ({"window_size": ((2, 2), None)}, r"stage 1 \(mbconv\) has no attention"),
        ({"window_size": (None, (7,))}, r"of stage 2 is not a side, \(height, width\)"),
        ({"block_kinds": ("mbconv", "mobat")}, "'mobat' of stage 2 is not mbconv or moat"),
        ({"bias_window_size": (None, None)}, "None of stage 2; .* needs a window side"),
        (
            {"widths": (8, 20)},
            "20 of stage 2 .* head_dim=8; nearest valid: 16 or 24",
        ),
        ({"widths": (8, 16, 16)}, "one positive number per stage"),
        ({"pool_size": 0}, "pool_size=0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
    ],
)
def test_fields_that_make_no_model(fields, message):
    model = MOAT(**{**MICRO, **fields})
    with pytest.raises(UserError, match=message):
        model.bind({}).blocks  # noqa: B018
    with pytest.raises(UserError, match=message):
        model.check()


def test_images_of_another_shape_are_refused():
    model, variables, _ = micro()
    for shape in [(32, 32, 3), (1, 32, 32, 1)]:
        with pytest.raises(UserError, match=r"must be \[batch, height, width, 3\]"):
            jax.eval_shape(model.apply, variables, jnp.zeros(shape))


def test_padding_changes_nothing_where_it_fits_and_is_masked_where_not():
    """The map has 4 x 6 positions; a window that holds it and padding is global attention."""
    model, variables, images = micro()
    fits = model.clone(window_size=(None, (4, 6)), pad_inputs=True)
    np.testing.assert_array_equal(jax.jit(fits.apply)(variables, images), logits())
    larger = model.clone(window_size=(None, (5, 9)), pad_inputs=True, relative_bias=False)
    whole = model.clone(relative_bias=False)
    np.testing.assert_allclose(
        jax.jit(larger.apply)(variables, images),
        jax.jit(whole.apply)(variables, images),
        rtol=1e-4,
        atol=1e-6,
    )


def test_bfloat16_is_close_and_logits_stay_float32():
    model, variables, images = micro()
    low = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, images)
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, logits(), atol=0.05 * np.abs(logits()).max())


def test_rematerialisation_and_training_gradients():
    """The same gradients with blocks recomputed; every parameter but k biases gets one."""

    def gradients(model, variables, images):
        def loss(params):
            logits, _ = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(3)},
            )
            return jnp.mean(jnp.sin(logits))

        return jax.jit(jax.grad(loss))(variables["params"])

    model, variables, images = micro()
    model = model.clone(drop_path_rate=0.5, depths=(1, 1))  # one block of each kind
    variables = {
        kind: {n: v for n, v in variables[kind].items() if n != "stage_2_block_1"}
        for kind in variables
    }
    images = jnp.concatenate([images] * 4)  # enough that no branch is dropped for all
    plain = gradients(model, variables, images)
    again = gradients(model.clone(remat=True), variables, images)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(plain), jax.tree.leaves(again), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6, err_msg=str(path))
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("qkv/bias"):
            assert jnp.abs(a[1]).max() < 1e-5  # keys: softmax doesn't see a shift
            a = a[jnp.array([0, 2])]
        assert jnp.abs(a).max() > 0, name


def test_stochastic_depth_grows_with_the_block():
    model = MOAT(**{**MICRO, "depths": (2, 2)}, drop_path_rate=0.4)
    rates = [block.drop_path_rate for block in model.bind({}).blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
