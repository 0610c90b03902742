"""Learning-rate schedules, clipping, the decay mask and the type of the first moment."""

import re

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.train.optimizer import OptimizerConfig, decay_mask, make_optimizer
from common.train.schedule import ScheduleConfig, make_schedule
from maxvit_jax.models.maxvit import MaxViT
from tests.train.tiny import assert_identical, quick, run, stored

OFFICIAL_NO_DECAY = r".*(bias|scale|gain|gamma|beta).*"  # the release's optimizer config


def test_cosine_with_warmup():
    config = ScheduleConfig(warmup_steps=10, decay_steps=110, end_value=0.1)
    schedule = make_schedule(config, 2.0)
    values = {0: 0.0, 1: 0.2, 5: 1.0, 10: 2.0, 60: 1.05, 110: 0.1, 500: 0.1}
    values[35] = 0.1 + 1.9 * (1 + np.cos(np.pi / 4)) / 2
    for step, value in values.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-6, err_msg=f"step {step}")


def test_cosine_without_warmup_starts_at_the_peak():
    schedule = make_schedule(ScheduleConfig(decay_steps=100), 3.0)
    np.testing.assert_allclose([schedule(s) for s in (0, 50, 100)], [3.0, 1.5, 0.0], atol=1e-7)


def test_cosine_under_the_warmup_is_that_of_timm():
    """Rates that timm 1.0.31 gives for 20 of 300 epochs of warm-up, 305 being a cool-down."""
    config = ScheduleConfig(
        init_value=1e-6, warmup_steps=20, decay_from="start", decay_steps=300, end_value=1e-5
    )
    schedule = make_schedule(config, 8e-3)
    values = {0: 1e-6, 1: 4.0095e-4, 10: 4.0005e-3, 19: 7.60005e-3, 20: 7.912699665e-3}
    values |= {21: 7.903787464e-3, 150: 4.005e-3, 160: 3.587408789e-3, 299: 1.021904838e-5}
    values |= {300: 1e-5, 305: 1e-5}
    for step, value in values.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-3 if step == 0 else 1e-5)
    unwarmed = make_schedule(ScheduleConfig(decay_from="start", decay_steps=300), 8e-3)
    np.testing.assert_allclose([unwarmed(s) for s in (0, 150, 300)], [8e-3, 4e-3, 0], atol=1e-8)


def test_warmup_starts_at_its_initial_value():
    for settings in ({"decay_steps": 20}, {"kind": "constant"}):
        schedule = make_schedule(ScheduleConfig(init_value=0.1, warmup_steps=4, **settings), 0.5)
        np.testing.assert_allclose([schedule(s) for s in (0, 1, 4)], [0.1, 0.2, 0.5], rtol=1e-6)


def test_constant():
    schedule = make_schedule(ScheduleConfig(kind="constant"), 0.3)
    np.testing.assert_allclose([schedule(s) for s in (0, 10**6)], 0.3)
    schedule = make_schedule(ScheduleConfig(kind="constant", warmup_steps=4), 0.4)
    np.testing.assert_allclose([schedule(s) for s in (0, 1, 4, 5, 99)], [0.0, 0.1, 0.4, 0.4, 0.4])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "decay_steps=0 must exceed warmup_steps=0"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps=5 must exceed warmup_steps=5"),
        ({"warmup_steps": -1, "decay_steps": 5}, "warmup_steps must not be negative"),
        ({"init_value": -1.0, "decay_steps": 5}, "init_value must not be negative"),
        ({"end_value": -1.0, "decay_steps": 5}, "end_value must not be negative"),
    ],
)
def test_wrong_schedule(values, message):
    with pytest.raises(UserError, match=f"config.schedule.{message}"):
        ScheduleConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"no_decay": "("}, "no_decay='\\(' is no pattern"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"b1": 1.0}, "b1 must be in"),
        ({"b2": -0.1}, "b2 must be in"),
    ],
)
def test_wrong_optimizer(values, message):
    with pytest.raises(UserError, match=f"config.optimizer.{message}"):
        OptimizerConfig(**({"learning_rate": 1.0} | values))


@pytest.fixture(scope="module")
def model_and_variables():
    """Real values: the official names are those of an exported model."""
    model = MaxViT((4, 8), (32, 64), (1, 1), num_classes=3, window_size=2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return model, shapes


def test_decay_mask_is_the_official_one(model_and_variables):
    """Every array is filled with 1 where we decay it, then renamed; the official pattern says
    under the official names where it should have been."""
    model, shapes = model_and_variables
    mask = decay_mask(shapes["params"], OptimizerConfig(learning_rate=1.0).no_decay)
    filled = jax.tree.map(lambda s, m: np.full(s.shape, float(m)), shapes["params"], mask)
    stats = jax.tree.map(lambda s: np.full(s.shape, np.nan), shapes["batch_stats"])
    official = maxvit_jax.export_weights(
        model, {"params": filled, "batch_stats": stats}, "official"
    )
    trained = {name: a for name, a in official.items() if not np.isnan(a).any()}
    assert len(official) - len(trained) == len(jax.tree.leaves(stats))
    decayed = {name for name, a in trained.items() if a.all()}
    assert decayed == {name for name in trained if not re.match(OFFICIAL_NO_DECAY, name)}
    assert all(a.all() or not a.any() for a in trained.values())
    tables = [name for name in trained if "relative_bias" in name]
    assert len(tables) == 4 and not decayed & set(tables)
    assert any("depthwise_kernel" in name for name in decayed)


def test_empty_pattern_decays_everything(model_and_variables):
    _, shapes = model_and_variables
    assert all(jax.tree.leaves(decay_mask(shapes["params"], "")))


def one_step(gradients, params, **config):
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1, **config), lambda step: 0.1)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


def test_decay_is_decoupled_and_masked():
    params = {"kernel": jnp.full(2, 2.0), "bias": jnp.full(2, 2.0)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    new = one_step(zeros, params, weight_decay=0.5)
    np.testing.assert_allclose(new["kernel"], 2.0 * (1 - 0.1 * 0.5))
    np.testing.assert_array_equal(new["bias"], 2.0)


def test_clip_scales_the_global_norm():
    """With eps far above the gradients, Adam's first update is lr * g / eps: linear in g."""
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    settings = {"eps": 1e6}
    plain = one_step(gradients, params, **settings)
    clipped = one_step(gradients, params, clip_norm=1.0, **settings)
    loose = one_step(gradients, params, clip_norm=5.1, **settings)
    np.testing.assert_allclose(plain["a"], -0.1 * 3e-6, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(clipped[name], plain[name] / 5, rtol=1e-5)
        np.testing.assert_array_equal(loose[name], plain[name])


# Three steps of timm 1.0.31's LAMB from these gradients: the second is not clipped.
LAMB = [
    [-0.4350487, -0.2354062, 0.0357638, 0.2354063, 0.4350486, 0.5631634],
    [-0.470137, -0.2580785, 0.0809445, 0.2719102, 0.4608663, 0.5152845],
    [-0.4812112, -0.2289966, 0.1384498, 0.2922111, 0.4357165, 0.4592447],
]
LAMB_BIAS = [[0.2000003, -0.1000007], [0.122602, -0.0029626], [0.1026025, 0.0890878]]
LAMB_ZERO = [
    [-0.0999997, 0.0999997, -0.0999997, 0.0999997],
    [-0.1096153, 0.10987, -0.1101208, 0.1103765],
    [-0.1144492, 0.1181113, -0.1220868, 0.1261719],
]


def test_lamb_is_that_of_timm():
    """Also for an array of zeros, and for one without decay, whose steps are Adam's."""
    params = {
        "kernel": jnp.arange(6.0).reshape(2, 3) / 5 - 0.4,
        "bias": jnp.array([0.3, -0.2]),
        "zero": jnp.zeros((2, 2)),
    }
    config = OptimizerConfig(
        kind="lamb", learning_rate=0.1, eps=1e-6, weight_decay=0.05, clip_norm=1.0
    )
    optimizer = make_optimizer(config, lambda step: 0.1)
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for step in range(3):
        scale = 0.1 if step == 1 else 2
        gradients = {
            name: jnp.cos(jnp.arange(params[name].size) * i + step).reshape(params[name].shape)
            * scale
            for i, name in enumerate(("kernel", "bias", "zero"), 1)
        }
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        expected = {"kernel": LAMB[step], "bias": LAMB_BIAS[step], "zero": LAMB_ZERO[step]}
        for name, values in expected.items():
            np.testing.assert_allclose(np.ravel(params[name]), values, atol=5e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["adamw", "lamb"])
def test_first_moment_in_half_the_bytes(kind):
    """The descent is the same but for the moment's rounding: 8 bits, every step anew."""
    target = jnp.arange(1.0, 7.0)

    def descend(mu_dtype):
        config = OptimizerConfig(kind=kind, learning_rate=0.1, mu_dtype=mu_dtype)
        optimizer = make_optimizer(config, lambda step: 0.1)
        params = {"kernel": jnp.full(6, 0.5)}
        state = optimizer.init(params)
        update = jax.jit(optimizer.update)
        for _ in range(10):
            gradients = {"kernel": params["kernel"] - target}
            updates, state = update(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return params["kernel"], state

    (exact, _), (rounded, state) = descend("float32"), descend("bfloat16")
    assert optax.tree.get(state, "mu")["kernel"].dtype == jnp.bfloat16
    assert optax.tree.get(state, "nu")["kernel"].dtype == rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, rtol=1e-2)
    assert (rounded != exact).any()


def test_first_moment_is_saved_as_it_is(tmp_path):
    settings = quick({"optimizer.mu_dtype": "bfloat16", "train.num_steps": 4})
    run(settings, tmp_path / "whole", small=True)
    run(settings | {"train": settings["train"] | {"num_steps": 2}}, tmp_path / "parts", small=True)
    run(settings, tmp_path / "parts", small=True)
    state = stored(tmp_path / "parts", 4)
    assert_identical(state, stored(tmp_path / "whole", 4))
    moments = {name: x.dtype for name, x in state.items() if "/mu/" in name}
    assert moments and set(moments.values()) == {np.dtype(jnp.bfloat16)}
    assert {x.dtype for name, x in state.items() if "/nu/" in name} == {np.dtype("float32")}
