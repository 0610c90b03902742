"""Every registered model: counts, shapes, maps and sizes; and what makes each family learn."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

import maxim_jax
import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from tests.golden.weights import make_variables
from tests.heads import micro

# Parameters and frozen constants, with 1000 classes.
PARAMETERS = {
    "maxvit_tiny": 30_916_528,
    "maxvit_small": 68_927_956,
    "maxvit_base": 119_467_708,
    "maxvit_large": 211_785_560,
    "maxvit_xlarge": 474_951_952,
    "moat_0": 27_846_892,
    "moat_1": 41_598_448,
    "moat_2": 73_422_408,
    "moat_3": 189_958_040,
    "moat_4": 483_214_184,
    "tiny_moat_0": 3_355_348,
    "tiny_moat_1": 5_122_895,
    "tiny_moat_2": 9_772_741,
    "tiny_moat_3": 19_534_390,
    "aewin_tiny": 21_430_936,
    "aewin_small": 33_739_720,
    "aewin_base": 75_351_336,
    "poolformer_s12": 11_915_176,
    "poolformer_s24": 21_388_968,
    "poolformer_s36": 30_862_760,
    "poolformer_m36": 56_172_520,
    "poolformer_m48": 73_473_448,
    "metaformer_id_s12": 11_915_176,
    "metaformer_pppa_s12_224": 14_038_440,
    "metaformer_ppaa_s12_224": 16_535_592,
    "metaformer_pppf_s12_224": 11_919_978,
    "metaformer_ppff_s12_224": 12_150_474,
    "caformer_s18": 26_341_656,
    "caformer_s36": 39_297_102,
    "caformer_m36": 56_204_878,
    "caformer_b36": 98_753_614,
    "convformer_s18": 26_774_448,
    "convformer_s36": 40_012_152,
    "convformer_m36": 57_051_640,
    "convformer_b36": 99_882_616,
    "poolformerv2_s12": 11_891_712,
    "poolformerv2_s24": 21_341_464,
    "poolformerv2_s36": 30_791_216,
    "poolformerv2_m36": 56_077_168,
    "poolformerv2_m48": 73_346_056,
    "identityformer_s12": 11_891_712,
    "identityformer_s24": 21_341_464,
    "identityformer_s36": 30_791_216,
    "identityformer_m36": 56_077_168,
    "identityformer_m48": 73_346_056,
    "randformer_s12": 12_127_010,
    "randformer_s24": 21_812_060,
    "randformer_s36": 31_497_110,
    "randformer_m36": 56_783_062,
    "randformer_m48": 74_287_248,
}
# With three supervision scales, as released.
RESTORATION_PARAMETERS = {
    "maxim_s1": 6_139_561,
    "maxim_s2": 14_176_178,
    "maxim_s3": 22_212_795,
    "maxim_m1": 19_464_265,
    "maxim_m2": 43_227_986,
    "maxim_m3": 66_991_707,
}


def test_no_model_is_missing():
    assert set(maxvit_jax.list_models()) == set(PARAMETERS)
    assert set(maxim_jax.list_models()) == set(RESTORATION_PARAMETERS)


def count(variables: dict[str, Any]) -> int:
    leaves = [jax.tree.leaves(variables.get(name, {})) for name in ("params", "constants")]
    return sum(leaf.size for part in leaves for leaf in part)


def images(height: int, width: int, channels: int = 3) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)


def trace(model: nn.Module, inputs: jax.ShapeDtypeStruct) -> tuple[Any, dict, dict]:
    """Shapes of the output, of the maps that `features` returns on the way, and of variables."""
    maps = {}

    def keep(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        result = method(*args, **kwargs)
        if context.method_name == "features":
            maps.update({name: jax.typeof(value) for name, value in result.items()})
        return result

    with nn.intercept_methods(keep):
        output, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), inputs)
    return output, maps, variables


def abstract_features(model: nn.Module, inputs: jax.ShapeDtypeStruct, until: str) -> tuple:
    """Shapes of the first maps, and of the variables that they take."""
    init = functools.partial(model.init_with_output, method="features", until=until)
    return jax.eval_shape(init, jax.random.key(0), inputs)


# Of each kind of block the smallest model is traced whole; of the others two blocks of a stage, as
# the further ones repeat the second.
WHOLE = {
    *("maxvit_tiny", "moat_0", "tiny_moat_0", "aewin_tiny", "caformer_s18", "convformer_s18"),
    *("poolformer_s12", "poolformerv2_s12", "identityformer_s12", "randformer_s12"),
}


def shortened(name: str) -> tuple[nn.Module, dict[str, int]]:
    """A model with at most two blocks per stage; by its last block how many are left out."""
    model = maxvit_jax.create_model(name)
    if name in WHOLE:
        return model, {}
    missing = {f"stage_{s}_block_1": depth - 2 for s, depth in enumerate(model.depths, 1)}
    shorter = model.clone(depths=tuple(min(depth, 2) for depth in model.depths))
    return shorter, {block: number for block, number in missing.items() if number > 0}


@pytest.mark.parametrize("name", PARAMETERS)
def test_model(name):
    """At its default height; wider than high, and no multiple of anything, where it may be."""
    model, missing = shortened(name)
    size = maxvit_jax.data_defaults(name).image_size
    width = size + 37
    if model.only_size:
        width = size
    elif model.size_multiple > 1:
        width = 2 * size
    logits, maps, variables = trace(model, images(size, width))
    blocks = [
        number * count({kind: tree.get(block, {}) for kind, tree in variables.items()})
        for block, number in missing.items()
    ]
    assert count(variables) + sum(blocks) == PARAMETERS[name]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert (logits.shape, logits.dtype) == ((1, 1000), jnp.float32)
    strides = dict(model.feature_strides)
    assert [strides[f"stage_{s}"] for s in (1, 2, 3, 4)] == [4, 8, 16, 32]
    assert list(maps) == list(strides) == list(model.feature_widths)
    for key, stride in strides.items():
        _, *sides, channels = maps[key].shape
        assert channels == model.feature_widths[key], key
        for side, whole in zip(sides, (size, width), strict=True):
            assert side in (whole // stride, math.ceil(whole / stride)), key
    assert model.frozen_norm == ("batch_stats" not in variables)


@pytest.mark.parametrize("name", PARAMETERS)
def test_contract(name):
    """What is not seen above, at the cost of the first block's shapes."""
    maxvit_jax.create_model(name).check()
    model = maxvit_jax.create_model(name, depths=(1, 1, 1, 1))
    names, size = list(model.feature_strides), model.smallest_size
    maps, variables = abstract_features(model, images(*size), "stage_1")
    assert list(maps) == names[: names.index("stage_1") + 1]
    assert {key.partition("_block")[0] for key in variables["params"]} == {"stem", "stage_1"}
    with pytest.raises(UserError, match=f"until='stage_9': the maps are {', '.join(names)}"):
        abstract_features(model, images(*size), "stage_9")

    for channels in (1, 5):
        other = model.clone(in_channels=channels)
        _, variables = abstract_features(other, images(*size, channels), names[0])
        kernels = [x for x in jax.tree.leaves(variables["params"]["stem"]) if len(x.shape) == 4]
        assert kernels[0].shape[2] == channels
        with pytest.raises(UserError, match=rf"height, width, {channels}\], got .*in_channels=3"):
            abstract_features(other, images(*size), names[0])

    settled = model.having(pad_inputs=True, frozen_norm=True)
    assert settled.pad_inputs and settled.frozen_norm and settled.size_multiple == 1
    assert settled == settled.having(pad_inputs=True, frozen_norm=True)


@pytest.mark.parametrize("name", PARAMETERS)
def test_wrong_images(name):
    """Are refused before anything is traced, in a line that says what is valid."""
    model = maxvit_jax.create_model(name)

    def refuses(inputs: jax.ShapeDtypeStruct, message: str) -> None:
        with pytest.raises(UserError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), inputs)

    (height, width), multiple = model.smallest_size, model.size_multiple
    refuses(images(height, width, 1), r"images must be \[batch, height, width, 3\], got")
    refuses(jax.ShapeDtypeStruct((224, 224, 3), "f4"), r"images must be \[batch, height, width, 3")
    if model.only_size:
        refuses(images(height, width + 32), f"made for image_size {height}x{width}")
    if multiple > 1:
        hint = f"nearest valid: {multiple} or {2 * multiple} .*pad_inputs=True"
        refuses(images(height, width + 1), f"width {width + 1} .*{hint}")
        small = height - max(model.feature_strides.values())
        refuses(images(small, width), f"height {small} .*nearest valid: {multiple} ")


@pytest.mark.parametrize(
    "name",
    [
        name if name.endswith("1") else pytest.param(name, marks=pytest.mark.slow)
        for name in RESTORATION_PARAMETERS
    ],
)
def test_restoration_model(name):
    model = maxim_jax.create_model(name)
    side = model.size_multiple
    outputs, _, variables = trace(model, images(side, 2 * side))
    assert count(variables) == RESTORATION_PARAMETERS[name]
    assert outputs[-1][0].shape == (1, side, 2 * side, 3)
    for inputs in (images(side, side + 1), images(side, side, 4)):
        with pytest.raises(UserError):
            jax.eval_shape(model.init, jax.random.key(0), inputs)


# ---------------------------------------------------------------- small ones, run

_FOUR = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "head_dim": 4}
SMALL = {
    "maxvit": (
        "maxvit_tiny",
        {"stem_widths": (4, 8), "widths": (32, 32), "depths": (1, 1), "window_size": 2},
    ),
    "moat": (
        "moat_0",
        {
            "stem_widths": (4, 8),
            "widths": (8, 16),
            "depths": (1, 1),
            "block_kinds": ("mbconv", "moat"),
            "bias_window_size": (None, 7),
            "head_dim": 4,
        },
    ),
    "aewin": (
        "aewin_tiny",
        {"widths": (8, 16), "depths": (1, 1), "heads": (4, 8), "image_size": 48},
    ),
    "first MetaFormers": (
        "poolformer_s12",
        {
            **_FOUR,
            "mixers": ("pool", "identity", "spatial_fc", "attention"),
            "position_embeddings": (4,),
            "image_size": 64,
            "layer_scale": 0.1,
        },
    ),
    "second MetaFormers": (
        "caformer_s18",
        {**_FOUR, "mixers": ("sep_conv", "pool", "random", "attention"), "image_size": 64},
    ),
    "other mixers": (
        "poolformerv2_s12",
        {
            **_FOUR,
            "mixers": ("depthwise_conv", "block_attention", "grid_attention", "identity"),
            "window_size": 2,
        },
    ),
}


TWO = {"depths": (2, 2, 2, 2)}
# Registered models at their widths, small enough to run with two blocks per stage; further ones
# repeat the second. One is as deep as it is registered.
RUN = {
    **dict.fromkeys(("tiny_moat_0", "aewin_tiny", "poolformerv2_s12", "identityformer_s12"), TWO),
    **dict.fromkeys(("caformer_s18", "convformer_s18"), TWO),
    "poolformer_s12": {},
}
SMALL_AND_RUN = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in RUN)]


def draw(shapes: dict[str, Any]) -> dict[str, Any]:
    """Variables away from initial zeros and ones."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, leaf: Any) -> jax.Array:
        key = jax.tree_util.keystr(path, simple=True, separator="/")
        if key.startswith("constants/"):
            return jax.nn.softmax(jnp.asarray(rng.normal(size=leaf.shape), jnp.float32))
        one = key.endswith(("scale", "var", "s"))
        spread = 0.1 if len(leaf.shape) < 2 else np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(one + spread * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@functools.cache
def small(name: str) -> tuple[nn.Module, dict[str, Any], jax.Array, dict[str, Any]]:
    """A small model, drawn variables, images, and what one program makes of them: logits in both
    precisions, gradients, maps, and the first alone."""
    base, fields = SMALL[name] if name in SMALL else (name, RUN[name])
    model = maxvit_jax.create_model(base, **fields, num_classes=5)
    inputs = jax.random.normal(jax.random.key(0), (2, 64, 64, 3))
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), inputs))

    def run(variables: dict[str, Any], inputs: jax.Array) -> dict[str, Any]:
        def forward(model: nn.Module, inputs: jax.Array) -> tuple[jax.Array, dict]:
            maps = model.features(inputs)
            return model.classify(list(maps.values())[-1], False), maps

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, maps = model.apply({**variables, "params": params}, inputs, method=forward)
            return jnp.sin(3 * logits).mean(), (logits, maps)

        gradients, (logits, maps) = jax.grad(loss, has_aux=True)(variables["params"])
        low = model.clone(dtype=jnp.bfloat16).apply(variables, inputs)
        first = model.apply(variables, inputs, method="features", until="stage_1")
        return {"gradients": gradients, "logits": logits, "low": low, "maps": maps, "first": first}

    quickly = {"xla_backend_optimization_level": 0}  # to compile
    compiled = jax.jit(run).lower(variables, inputs).compile(compiler_options=quickly)
    return model, variables, inputs, compiled(variables, inputs)


@pytest.mark.parametrize("name", SMALL_AND_RUN)
def test_every_parameter_learns(name):
    """But for biases of keys: a softmax does not see that all of its inputs shift."""
    gradients = flatten(small(name)[3]["gradients"])
    largest = max(float(jnp.abs(g).max()) for g in gradients.values())
    for key, gradient in gradients.items():
        assert jnp.isfinite(gradient).all(), key
        if key.endswith("qkv/bias"):
            assert jnp.abs(gradient[1]).max() < 1e-6 * largest, key
            gradient = jnp.delete(gradient, 1, axis=0)
        if key.endswith("qkv/kernel"):  # each of the three, not just one
            gradient = jnp.abs(gradient).max(axis=(0, 2, 3))
            assert (gradient > 0).all(), key
        assert jnp.abs(gradient).max() > 0, key


@pytest.mark.parametrize("name", SMALL_AND_RUN)
def test_bfloat16_is_close(name):
    results = small(name)[3]
    full, low = np.asarray(results["logits"]), np.asarray(results["low"])
    assert low.dtype == np.float32 and not np.array_equal(full, low)
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


@pytest.mark.parametrize("name", SMALL_AND_RUN)
def test_first_maps_are_those_of_all(name):
    """From the variables of the whole model."""
    model, _, _, results = small(name)
    maps, first = results["maps"], results["first"]
    assert list(maps) == list(model.feature_strides)
    assert list(first) == [key for key in maps if key in ("stem", "stage_1")]
    for key, value in first.items():
        np.testing.assert_allclose(value, maps[key], rtol=1e-5, atol=1e-5)  # another program


@pytest.mark.parametrize("name", ["maxvit", "moat"])
def test_frozen_statistics(name):
    """Training uses them and leaves them alone; stochastic depth stays on."""
    base, fields = SMALL[name]
    moving = maxvit_jax.create_model(base, **fields, num_classes=5, drop_path_rate=0.9)
    frozen = moving.having(frozen_norm=True)
    inputs = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    variables = draw(jax.eval_shape(moving.init, jax.random.key(0), inputs))

    def train(model: nn.Module, seed: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, inputs, True, rngs=rngs, mutable=["batch_stats"])

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(seeds: jax.Array) -> Any:
        return train(moving, seeds[0]), jax.vmap(functools.partial(train, frozen))(seeds)

    (free, moved), (still, kept) = run(jnp.arange(2))
    before, moved, kept = (flatten({"": tree["batch_stats"]}) for tree in (variables, moved, kept))
    for key, value in before.items():
        np.testing.assert_array_equal(kept[key], np.stack([value, value]), err_msg=key)
        assert not np.array_equal(moved[key], value), key
    assert not np.allclose(free, still[0]) and not np.allclose(still[0], still[1])
    whole = frozen.clone(drop_path_rate=0.0)  # nothing is left that training does
    programs = [jax.make_jaxpr(whole.apply, static_argnums=2)(variables, inputs, t) for t in (0, 1)]
    assert str(programs[0]) == str(programs[1])


def test_what_a_family_always_does_is_no_field():
    model = maxvit_jax.create_model("aewin_tiny")
    assert model.having(pad_inputs=True, frozen_norm=True, num_classes=3).num_classes == 3
    with pytest.raises(UserError, match="AEWin always has pad_inputs=True"):
        model.having(pad_inputs=False)


@pytest.mark.parametrize("name", SMALL)
def test_without_classes(name):
    """The head ends in as many numbers as the last map has channels."""
    model, _, inputs, _ = small(name)
    output, maps, variables = trace(model.clone(num_classes=0), inputs)
    assert output.shape == (2, list(maps.values())[-1].shape[-1])
    assert "logits" not in variables["params"].get("head", {})


def test_fields_are_the_whole_configuration():
    """A model made from another's fields is equal: what is stored with weights suffices."""
    for name in PARAMETERS:
        model = maxvit_jax.create_model(name)
        fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
        fields = {n: v for n, v in fields.items() if n not in ("parent", "name")}
        assert maxvit_jax.create_model(name, **fields) == model


def test_a_size_that_strides_round_up_to_the_windows_fits():
    model = maxvit_jax.create_model("maxvit_tiny", depths=(1, 1, 1, 1))
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 221, 224, 3)))
    assert shape[0].shape == (1, 1000)
    with pytest.raises(UserError, match="nearest valid: 224"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 220, 224, 3)))


@pytest.mark.parametrize("name", ["maxvit_tiny", "tiny_moat_0", "aewin_tiny", "poolformer_s12"])
def test_dropout_is_before_the_classifier_in_training_only(name):
    model = maxvit_jax.create_model(name, **micro.BACKBONES[name], num_classes=3, head_dropout=0.5)
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 32)).astype(np.float32)
    variables = make_variables(model, x, train=False, method="classify")

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, keys):
        plain = model.apply(variables, x, False, method="classify")
        return plain, jax.vmap(
            lambda key: model.apply(variables, x, True, method="classify", rngs={"dropout": key})
        )(keys)

    plain, dropped = run(model, jax.random.split(jax.random.key(0), 2000))
    assert jnp.abs(dropped[0] - plain).max() > 1e-3
    # Only a linear layer follows: the mean over all that may be dropped is what stays.
    np.testing.assert_allclose(dropped.mean(0), plain, atol=5 * dropped.std() / 2000**0.5)
    without = model.clone(head_dropout=0.0)
    np.testing.assert_array_equal(run(without, jax.random.split(jax.random.key(0), 2))[1][0], plain)
    with pytest.raises(UserError, match="head_dropout=1"):
        model.clone(head_dropout=1.0).check()
