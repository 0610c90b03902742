"""MaxViT against the official code, and what the official code does not have."""

import functools

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from maxvit_jax.models.maxvit import MaxViT
from tests.golden.cases import golden_jit, load_case, logits_and_maps
from tests.golden.weights import make_variables

MICRO = {
    "stem_widths": (8, 8),
    "widths": (32, 64),
    "depths": (1, 2),
    "window_size": 2,
    "num_classes": 5,
}


@functools.cache
def golden(name: str, folder: str):
    case = load_case(name)
    path = case.write_checkpoint(f"{folder}/{name}.npz", "npz")
    model, variables = maxvit_jax.load_pretrained(MaxViT(**case.fields()), path)
    return case, model, variables


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("golden"))
    return lambda name: golden(name, folder)


@functools.cache
def micro(size=(32, 48), **fields):
    """A tiny model, its variables and images."""
    model = MaxViT(**{**MICRO, **fields})
    images = jax.random.normal(jax.random.key(0), (2, *size, 3))
    return model, make_variables(model, images), images


def outputs(case, model, variables):
    """All that the golden files name."""

    @golden_jit(case.name)
    def run(variables, images):
        logits, maps = logits_and_maps(model, variables, images)
        last, bare = maps[f"stage_{len(model.depths)}"], model.clone(num_classes=0)
        return maps | {
            "pooled_features": last.mean((1, 2)),
            "normed_features": bare.apply(variables, last, False, method="classify"),
            "logits": logits,
        }

    return run(variables, case.images())


@pytest.mark.parametrize("name", ["tf_micro", "tf_micro_ft384"])
def test_outputs_are_the_official_ones(load, name):
    case, model, variables = load(name)
    errors = case.compare(outputs(case, model, variables))
    assert max(errors.values()) < 1, errors


def test_gradients_are_the_official_ones(load):
    """Inference-mode statistics, as in the reference. Gradients of k biases are zero."""
    case, model, variables = load("tf_micro_grads")
    labels = jnp.asarray(case.manifest["labels"])

    @golden_jit(case.name)
    def loss_and_gradients(params):
        def loss(params):
            logits = model.apply({**variables, "params": params}, case.images())
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.value_and_grad(loss)(params)

    loss, gradients = loss_and_gradients(variables["params"])
    statistics = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    named = maxvit_jax.export_weights(
        model, {"params": gradients, "batch_stats": statistics}, "official"
    )
    norms = {f"norm of {name}": np.linalg.norm(value) for name, value in named.items()}
    available = {"loss": loss, **named, **norms}
    errors = case.compare({name: available[name] for name in case.expected})
    assert len(errors) > 100 and max(errors.values()) < 1, errors


def test_training_mode_statistics(load):
    """The moving variance is the biased one here, the unbiased one in the reference."""
    case, model, variables = load("tf_micro_train")

    @golden_jit(case.name)
    def run(variables, images):
        apply = functools.partial(model.apply, variables, images, True, mutable=["batch_stats"])
        logits, updates = apply()
        return {"logits": logits, **apply(method="features")[0]}, updates["batch_stats"]

    results, statistics = run(variables, case.images())
    named = maxvit_jax.export_weights(model, {**variables, "batch_stats": statistics}, "official")
    before = maxvit_jax.export_weights(model, variables, "official")
    for name in case.expected:
        if name in results:
            continue
        value = np.asarray(named[name])
        if name.endswith("moving_variance"):
            # Count of values per channel: the stem's norm sees stride 2, the other stride 8.
            n = 2 * (32 if "stem" in name else 8) ** 2
            batch = (value - 0.99 * before[name]) / 0.01
            value = 0.99 * before[name] + 0.01 * batch * n / (n - 1)
        results[name] = value
    errors = case.compare({name: results[name] for name in case.expected})
    assert max(errors.values()) < 1, errors


def test_fine_tuned_at_another_size_with_tables_of_the_first():
    """At 384 with the tables of window 7, as officially: the same parameters."""
    model, variables, _ = micro((32, 32), window_size=4)
    wider = model.clone(window_size=6, bias_window_size=4)
    shapes = jax.eval_shape(wider.init, jax.random.key(0), jnp.zeros((1, 48, 48, 3)))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)


def test_without_classes_ends_after_the_norm():
    _, variables, images = micro()
    model = MaxViT(**{**MICRO, "num_classes": 0})
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    assert set(shapes["params"]["head"]) == {"norm"}
    features = jax.jit(model.apply)(variables, images)
    assert features.shape == (2, 64)
    norm = variables["params"]["head"]["norm"]
    normalised = (features - norm["bias"]) / norm["scale"]
    np.testing.assert_allclose(normalised.mean(-1), 0, atol=1e-3)


def test_grid_may_differ_from_the_window():
    model, variables, images = micro((32, 64), window_size=2, grid_size=4)
    table = variables["params"]["stage_1_block_0"]["grid"]["attention"]["relative_bias"]["table"]
    assert table.shape == (1, 7, 7)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 5)
    assert model.size_multiple == 32
    with pytest.raises(UserError, match=r"width 48 .*stage_2.* of 4; nearest valid: 32 or 64 \("):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 32, 48, 3)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stem_widths": (8, 8, 8)}, "stem_widths=.*: two positive"),
        ({"depths": (1,)}, "one positive number per stage"),
        ({"widths": (32, 80)}, "80 is not a multiple of 32, .*; nearest valid: 64 or 96"),
        ({"window_size": 0}, "window_size=0 must be positive"),
        ({"grid_size": 0}, "grid_size=0 must be positive"),
        ({"in_channels": 0}, "in_channels=0 must be positive"),
        ({"norm_momentum": 1.5}, "norm_momentum=1.5"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
    ],
)
def test_fields_that_make_no_model(fields, message):
    model = MaxViT(**{**MICRO, **fields})
    with pytest.raises(UserError, match=message):
        model.check()
    with pytest.raises(UserError, match=message):
        model.bind({}).blocks  # noqa: B018


def test_padding_takes_any_size_and_changes_nothing_where_it_fits():
    model, variables, images = micro()
    padded = model.clone(pad_inputs=True)
    same = jax.jit(padded.apply)(variables, images)
    np.testing.assert_array_equal(same, jax.jit(model.apply)(variables, images))
    odd = jax.jit(padded.apply)(variables, images[:, :29, :41])
    assert odd.shape == (2, 5) and bool(jnp.isfinite(odd).all())


def test_bfloat16_is_close_and_logits_stay_float32():
    model, variables, images = micro()
    low = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, images)
    assert low.dtype == jnp.float32
    full = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(low, full, atol=0.05 * np.abs(full).max())


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

    # Of one stage, whose first block is strided and whose second isn't.
    model, variables, images = micro(drop_path_rate=0.5, widths=(32,), depths=(2,))
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
    model = MaxViT(**{**MICRO, "depths": (2, 2)}, drop_path_rate=0.4)
    rates = [block.drop_path_rate for block in model.bind({}).blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_blocks_are_modules_to_build_with():
    from maxvit_jax.models.maxvit import MaxViTBlock

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return MaxViTBlock(32, 2, window_size=2, grid_size=2)(x, False)

    x = jnp.zeros((1, 8, 8, 16))
    shapes = jax.eval_shape(lambda: Net().init_with_output(jax.random.key(0), x))
    assert shapes[0].shape == (1, 4, 4, 32)
