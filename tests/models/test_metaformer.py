"""MetaFormer against the official code, its variants' sizes, and mixers of one's own."""

import functools

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike

import maxvit_jax
from common.errors import UserError
from common.train.state import create_state, make_train_step
from configs import metaformer_ablation_digits
from maxvit_jax.explain import grad_cam
from maxvit_jax.models.metaformer import MIXERS, PUBLISHED, VARIANTS, MetaFormer, mean_over_map
from maxvit_jax.tasks.classification import ClassificationTask
from tests.golden.cases import golden_jit, load_case, logits_and_maps
from tests.golden.weights import make_variables
from tests.models.test_every_model import PARAMETERS

PARAMETERS_21K = {
    "caformer_s18": 69_044_865,
    "caformer_s36": 82_000_311,
    "caformer_m36": 104_243_383,
    "caformer_b36": 162_798_007,
    "convformer_s18": 69_477_657,
    "convformer_s36": 82_715_361,
    "convformer_m36": 105_090_145,
    "convformer_b36": 163_927_009,
}
GOLDEN = (
    *("poolformer_micro", "poolformer_micro_odd", "poolformer_micro_feat"),
    *("metaformer_micro_id", "metaformer_micro_ppaa", "metaformer_micro_pppa"),
    *("metaformer_micro_ppff", "caformer_micro", "convformer_micro", "identityformer_micro"),
    *("randformer_micro", "poolformerv2_micro"),
)
FULL_SIZE = ("poolformer_s12_224", "caformer_s18_224", "convformer_s18_224")
MICRO = {
    "widths": (16, 32),
    "depths": (1, 1),
    "mixers": ("pool", "attention"),
    "num_classes": 5,
    "head_dim": 8,
}


class Shift(nn.Module):
    """Somebody's own mixer."""

    step: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x):
        weight = self.param("weight", nn.initializers.ones, (), jnp.float32)
        return weight.astype(self.dtype) * jnp.roll(x, self.step, axis=2) - x


class Roll(nn.Module):
    """Another, without weights."""

    step: int
    dtype: DTypeLike = jnp.float32

    def __call__(self, x):
        return jnp.roll(x, self.step, axis=2)


@functools.cache
def micro(size=(32, 48), **fields):
    """A tiny model, its variables and images."""
    model = MetaFormer(**{**MICRO, **fields})
    images = jax.random.normal(jax.random.key(0), (2, *size, 3))
    return model, make_variables(model, images), images


def plain_norms(variables):
    """Norms that neither scale nor shift."""

    def plain(path, array):
        key = jax.tree_util.keystr(path, simple=True, separator="/")
        return np.full_like(array, key.endswith("scale")) if "norm" in key else array

    return jax.tree_util.tree_map_with_path(plain, variables)


def outputs(case, model, variables):
    """All that a golden file names."""

    def run(variables, images):
        logits, maps = logits_and_maps(model, variables, images)
        found = {f"feat{i}": maps[f"stage_{i + 1}"] for i in range(4)}
        if model.feature_norms:  # the same without them gives the maps before
            plain = model.clone(feature_norms=False)
            maps = plain.apply(variables, images, method="features")
        else:
            found["pre_head"] = head(model.clone(num_classes=0), variables, maps["stage_4"])
            found["logits"] = logits
        return found | maps | {"patch_embed": maps["stem"], "downsample1": maps["stem"]}

    compiled = golden_jit(case.name)
    found = compiled(run)(variables, case.images())
    if "gradcam" in case.manifest:
        targets = case.manifest["gradcam"]["target_classes"]
        look = functools.partial(grad_cam, model, classes=targets)
        found["gradcam_raw"] = compiled(look)(variables, case.images())
    return {name: found[name] for name in case.expected}


def head(model, variables, last):
    """What the head makes of the last stage's map."""
    return model.apply(variables, last, False, method=lambda m, *args: m.head(*args))


@pytest.mark.parametrize(
    "name", [*GOLDEN, *(pytest.param(name, marks=pytest.mark.slow) for name in FULL_SIZE)]
)
def test_outputs_are_the_official_ones(name, tmp_path):
    case = load_case(name, "metaformer")
    path = case.write_checkpoint(tmp_path / "w.npz", "npz")
    model, variables = maxvit_jax.load_pretrained(MetaFormer(**case.fields()), path)
    errors = case.compare(outputs(case, model, variables))
    assert {"stage_1", "stage_4"} < errors.keys() and len(errors) >= 6
    assert max(errors.values()) < 1, errors


def abstract(model, size=(224, 224)):
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables))


@pytest.mark.parametrize("name", PARAMETERS_21K)
def test_parameter_counts_with_the_classes_of_imagenet_21k(name):
    """Blocks are not counted twice: the classifier makes the difference."""
    model = maxvit_jax.create_model(name, depths=(1, 1, 1, 1))
    more = count(abstract(model.clone(num_classes=21_841))) - count(abstract(model))
    assert PARAMETERS[name] + more == PARAMETERS_21K[name]


def test_frozen_matrices_are_constants():
    variables = abstract(maxvit_jax.create_model("randformer_s12", depths=(1, 1, 2, 1)))
    shapes = {
        name: block["mixer"]["matrix"].shape for name, block in variables["constants"].items()
    }
    assert shapes == {
        "stage_3_block_0": (196, 196),
        "stage_3_block_1": (196, 196),
        "stage_4_block_0": (49, 49),
    }


def test_variants_carry_the_official_recipes_rates():
    assert VARIANTS.keys() == PUBLISHED.keys()
    create = maxvit_jax.create_model
    rates = [
        create(f"poolformer_{size}").layer_scale for size in ("s12", "s24", "s36", "m36", "m48")
    ]
    assert rates == [1e-5, 1e-5, 1e-6, 1e-6, 1e-6]
    rates = [create(f"caformer_{size}").head_dropout for size in ("s18", "s36", "m36", "b36")]
    assert rates == [0, 0.4, 0.4, 0.5]
    assert (
        create("randformer_m48").drop_path_rate == 0.3 == create("poolformerv2_m36").drop_path_rate
    )


@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
def test_features_have_their_strides(size):
    model, variables, _ = micro()
    images = jnp.zeros((1, *size, 3))
    maps = jax.eval_shape(lambda v: model.apply(v, images, method="features"), variables)
    assert list(maps) == ["stem", "stage_1", "stage_2"] == list(model.feature_strides)
    floors = {(32, 48): [(8, 12), (4, 6)], (37, 51): [(9, 13), (5, 7)]}[size]
    assert [maps[f"stage_{s}"].shape[1:3] for s in (1, 2)] == floors
    assert maps["stem"].shape == maps["stage_1"].shape == (1, *floors[0], 16)


def test_without_classes_ends_before_the_classifier():
    _, variables, images = micro(mlp_head=True)
    assert variables["params"]["head"].keys() == {"norm", "inner", "inner_norm", "logits"}
    model = MetaFormer(**{**MICRO, "num_classes": 0}, mlp_head=True)
    assert abstract(model)["params"]["head"].keys() == {"norm"}
    features = jax.jit(model.apply)(plain_norms(variables), images)
    assert features.shape == (2, 32) and features.dtype == jnp.float32
    np.testing.assert_allclose(features.mean(-1), 0, atol=1e-5)


def test_feature_norms_replace_the_head():
    model, variables, images = micro(feature_norms=True, num_classes=0)
    assert "head" not in variables["params"]
    variables = plain_norms(variables)
    maps = jax.jit(functools.partial(model.apply, method="features"))(variables, images)
    for name in ("stage_1", "stage_2"):
        np.testing.assert_allclose(maps[name].mean(-1), 0, atol=1e-5)
    pooled = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(pooled, mean_over_map(maps["stage_2"]), atol=1e-6)


def test_head_orders():
    """The first paper's head normalises before it pools, timm's after: other functions."""
    model, variables, images = micro(
        pool_first=False, norm="group", norm_epsilon=1e-5, use_bias=True, num_classes=0
    )
    variables = plain_norms(variables)
    features = functools.partial(model.apply, method="features")
    last = jax.jit(features)(variables, images)["stage_2"]
    mean, std = last.mean((1, 2, 3), keepdims=True), last.std((1, 2, 3), keepdims=True)
    want = ((last - mean) / std).mean((1, 2))
    np.testing.assert_allclose(jax.jit(model.apply)(variables, images), want, atol=1e-3)
    timm = model.clone(head_order="timm")
    pooled = last.mean((1, 2))
    want = (pooled - pooled.mean(-1, keepdims=True)) / pooled.std(-1, keepdims=True)
    np.testing.assert_allclose(jax.jit(timm.apply)(variables, images), want, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"mixers": ("pool", "spatial_fc")}, "spatial_fc of stage 2"),
        ({"mixers": ("random", "pool")}, "random of stage 1"),
        ({"position_embeddings": (2,)}, "position_embeddings of stage 2"),
    ],
)
def test_parts_for_one_size_name_it(fields, part):
    model = MetaFormer(**{**MICRO, **fields}, image_size=(32, 48))
    variables = abstract(model, (32, 48))
    assert model.smallest_size == model.only_size == (32, 48)
    with pytest.raises(UserError, match=f"images of 48x48, but {part} .* image_size 32x48"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 48, 48, 3)))


def test_windows_that_do_not_fit():
    model = MetaFormer(**{**MICRO, "mixers": ("block_attention", "grid_attention")}, window_size=4)
    assert model.smallest_size == (32, 32) and model.size_multiple == 32
    variables = abstract(model, model.smallest_size)
    message = r"width 48 does not fit stage_2, .* stride 8 .* of 4; nearest valid: 32 or 64 "
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 32, 48, 3)))
    padded = model.clone(pad_inputs=True)
    assert jax.eval_shape(padded.apply, variables, jnp.zeros((1, 30, 48, 3))).shape == (1, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixers": ("pool", "sepconv")}, "mixers='sepconv': did you mean 'sep_conv'"),
        ({"mixers": "pool"}, "one for each of 2 stages"),
        ({"mixers": ("pool",)}, "one for each of 2 stages"),
        ({"depths": (1, 0)}, "one positive number per stage"),
        ({"pool_size": 4}, "pool_size=4 must be odd: try 5"),
        ({"norm": "layr"}, "norm='layr': did you mean 'layer'"),
        ({"activation": "relu"}, "activation='relu': did you mean 'gelu' or 'star_relu'"),
        ({"head_order": "tim"}, "head_order='tim': did you mean 'timm'"),
        ({"scaled_residuals": (3,)}, r"scaled_residuals=\(3,\): stages are 1 to 2"),
        ({"feature_norms": True}, "num_classes=5 must be 0"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate=1.0: use \[0, 1\)"),
        ({"image_size": (32, 32, 32)}, "image_size"),
        (
            {"head_dim": 12, "mixers": ("pool", "attention")},
            "32 of stage 2 .* head_dim=12; nearest valid: 24 or 36",
        ),
    ],
)
def test_wrong_fields(fields, message):
    with pytest.raises(UserError, match=message):
        MetaFormer(**{**MICRO, **fields}).check()


def test_images_that_are_too_small():
    model, variables, _ = micro()
    with pytest.raises(UserError, match="images of 2x48 are too small"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 2, 48, 3)))
    with pytest.raises(UserError, match=r"must be \[batch, height, width, 3\]"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 32, 48, 1)))


def test_any_module_is_a_mixer():
    mixers = ("pool", Shift, functools.partial(Shift, step=2), "attention")
    model = maxvit_jax.create_model("poolformerv2_s12", mixers=mixers, depths=(1, 1, 1, 1))
    params = abstract(model)["params"]
    assert params["stage_3_block_0"]["mixer"].keys() == {"weight"}
    _, variables, images = micro()
    ours = MetaFormer(**{**MICRO, "mixers": (functools.partial(Roll, step=0), "attention")})
    same = MetaFormer(**{**MICRO, "mixers": ("identity", "attention")})
    ours, same = (jax.jit(model.apply)(variables, images) for model in (ours, same))
    np.testing.assert_array_equal(ours, same)


def test_mixers_by_name():
    """As a config can say it, and weights can store it."""
    by_name = MetaFormer(**{**MICRO, "mixers": (f"{__name__}:Shift", "attention")})
    itself = MetaFormer(**{**MICRO, "mixers": (Shift, "attention")})
    assert jax.tree.map(jnp.shape, abstract(by_name)) == jax.tree.map(jnp.shape, abstract(itself))


class Halves(nn.Module):
    """No mixer: it makes the map smaller."""

    dtype: DTypeLike = jnp.float32

    def __call__(self, x):
        return x[:, ::2]


@pytest.mark.parametrize(
    ("mixer", "message"),
    [
        ("pol", "mixers='pol': did you mean 'pool'"),
        ("no.such:Mixer", "mixers='no.such:Mixer' can't be imported"),
        (f"{__name__}:Nothing", "can't be imported"),
        (Shift(), "is not a module class with a field `dtype`"),
        (nn.Sequential, "Sequential is not a module class with a field `dtype`"),
        (jnp.sin, "is not a module class"),
        (Halves, r"Halves turns \[1, 56, 56, 16\] into \[1, 28, 56, 16\]"),
    ],
)
def test_what_is_no_mixer(mixer, message):
    with pytest.raises(UserError, match=message):
        abstract(MetaFormer(**{**MICRO, "mixers": (mixer, "attention")}))


def test_stochastic_depth_grows_to_the_last_block():
    model = MetaFormer(**{**MICRO, "depths": (2, 2)}, drop_path_rate=0.3)
    rates = [block.drop_path_rate for stage in model.bind({}).blocks for block in stage]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    alone = MetaFormer((16,), (1,), ("pool",), drop_path_rate=0.3)
    assert alone.bind({}).blocks[0][0].drop_path_rate == 0


def test_dropout_is_in_the_mlp_head_in_training_only():
    model, variables, images = micro(mlp_head=True)
    dropped = model.clone(head_dropout=0.5)
    apply = jax.jit(dropped.apply, static_argnames="train")
    plain = jax.jit(model.apply)(variables, images)
    np.testing.assert_array_equal(apply(variables, images), plain)
    trained = apply(variables, images, train=True, rngs={"dropout": jax.random.key(0)})
    assert jnp.abs(trained - plain).max() > 1e-3


def test_initial_values():
    """The first release leaves strided convolutions at PyTorch's default; all else is 0.02."""

    @functools.partial(jax.jit, static_argnums=0)
    def init(model):
        params = model.init(jax.random.key(1), jnp.zeros((1, 32, 48, 3)))["params"]
        return {name: params[name] for name in params if name != "head"}

    params = init(MetaFormer(**MICRO, downsample_norms=False, layer_scale=1e-5))
    for name, fan_in in (("stem", 147), ("stage_2_downsample", 144)):
        for array in params[name]["conv"].values():
            assert 0.8 * fan_in**-0.5 < jnp.abs(array).max() <= fan_in**-0.5
    np.testing.assert_array_equal(params["stage_2_block_0"]["mlp_layer_scale"], np.float32(1e-5))
    params = init(MetaFormer(**MICRO, scaled_residuals=(2,)))
    kernels = (
        params["stem"]["conv"]["kernel"],
        params["stage_2_block_0"]["mixer"]["attention"]["qkv"]["kernel"],
        params["stage_2_block_0"]["mlp"]["expand"]["kernel"],
    )
    for kernel in kernels:
        assert 0.018 < kernel.std() < 0.022
    assert not params["stem"]["conv"]["bias"].any()
    assert params["stage_2_block_0"]["mlp_residual_scale"].tolist() == [1.0] * 32
    assert "mlp_residual_scale" not in params["stage_1_block_0"]


def test_bfloat16_is_close_and_logits_stay_float32():
    model, variables, images = micro(mlp_head=True)
    low = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, images)
    assert low.dtype == jnp.float32
    full = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


@pytest.mark.parametrize(
    "fields",
    [
        {"mixers": ("random", "sep_conv"), "scaled_residuals": (2,), "mlp_head": True},
        {
            "mixers": ("spatial_fc", "attention"),
            "position_embeddings": (1,),
            "norm": "group",
            "use_bias": True,
            "layer_scale": 0.5,
            "pool_first": False,
            "downsample_norms": False,
            "activation": "gelu",
        },
    ],
)
def test_rematerialisation_and_training_gradients(fields):
    """The same gradients with blocks recomputed; every parameter gets one, constants none."""

    def gradients(model, variables, images):
        def loss(params):
            logits = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                rngs={"dropout": jax.random.key(3)},
            )
            return jnp.mean(jnp.sin(7 * logits))

        return jax.jit(jax.grad(loss))(variables["params"])

    fields = {"drop_path_rate": 0.2, "image_size": (32, 48), **fields}
    model, variables, images = micro(**fields)
    images = jnp.concatenate([images] * 4)  # enough that no branch is dropped for all
    plain = gradients(model, variables, images)
    again = gradients(model.clone(remat=True), variables, images)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(plain), jax.tree.leaves(again), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6, err_msg=str(path))
        assert jnp.abs(a).max() > 0, path


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_trains_by_the_recipe_that_compares_them(mixer):
    config = metaformer_ablation_digits.get_config(f"mixer={mixer}")
    task = ClassificationTask(config.to_dict())
    assert task.model.mixers == (mixer, mixer)
    optimizer = optax.adamw(1e-3)
    state = jax.eval_shape(
        lambda rng: create_state(task.init(rng), optimizer, ema=False), jax.random.key(0)
    )
    batch = {
        "image": jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((2,), np.int32),
    }
    after, _ = jax.eval_shape(make_train_step(task, optimizer, seed=0), state, batch)
    assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
    assert bool(state.constants) == (mixer == "random")


def test_unknown_mixers_name_the_nearest():
    with pytest.raises(UserError, match="mixer='poll': did you mean 'pool'"):
        metaformer_ablation_digits.get_config("mixer=poll")
