"""Learning-rate schedules, clipping, the decay mask and the type of the first moment."""

import dataclasses
import re

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.train.optimizer import (
    OptimizerConfig,
    decay_mask,
    hold_frozen,
    layer_decay,
    make_optimizer,
)
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


def test_step_is_that_of_mmdetection():
    """Its 1x schedule in small: warmup_ratio 0.001 for 10 steps, a tenth at each milestone."""
    config = ScheduleConfig(kind="step", init_value=2e-5, warmup_steps=10, milestones=(40, 60))
    schedule = make_schedule(config, 0.02)
    ratio = 1 - (1 - 3 / 10) * (1 - 1e-3)
    values = {0: 2e-5, 3: 0.02 * ratio, 10: 0.02, 39: 0.02, 40: 2e-3, 59: 2e-3, 60: 2e-4, 999: 2e-4}
    found = [schedule(step) for step in values]
    np.testing.assert_allclose(found, list(values.values()), rtol=1e-4)  # float32, at step 0
    unwarmed = make_schedule(ScheduleConfig(kind="step", milestones=(5,), gamma=0.5), 1.0)
    np.testing.assert_allclose([unwarmed(s) for s in (0, 4, 5, 6)], [1, 1, 0.5, 0.5])


def test_poly_is_that_of_mmsegmentation():
    """With a warm-up, PolyLR from its end on, as version 1 writes it: begin=10, end=110."""
    schedule = make_schedule(ScheduleConfig(kind="poly", decay_steps=100, end_value=1e-4), 0.01)
    for step in (0, 1, 50, 99, 100, 500):
        expected = (0.01 - 1e-4) * (1 - min(step, 100) / 100) ** 0.9 + 1e-4
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5)
    settings = {"kind": "poly", "power": 1.0, "warmup_steps": 10, "decay_steps": 110}
    warmed = make_schedule(ScheduleConfig(**settings), 2.0)
    np.testing.assert_allclose([warmed(s) for s in (5, 10, 60, 110, 111)], [1, 2, 1, 0, 0])
    hidden = make_schedule(ScheduleConfig(**settings, decay_from="start"), 2.2)
    np.testing.assert_allclose([hidden(s) for s in (5, 10, 55)], [1.1, 2, 1.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "decay_steps=0 must exceed warmup_steps=0"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps=5 must exceed warmup_steps=5"),
        ({"warmup_steps": -1, "decay_steps": 5}, "warmup_steps must not be negative"),
        ({"init_value": -1.0, "decay_steps": 5}, "init_value must not be negative"),
        ({"end_value": -1.0, "decay_steps": 5}, "end_value must not be negative"),
        ({"kind": "poly"}, "decay_steps=0 must exceed warmup_steps=0"),
        ({"kind": "poly", "decay_steps": 5, "power": 0.0}, "power must be positive"),
        ({"kind": "step"}, r"milestones=\(\): kind 'step' needs one"),
        ({"kind": "step", "milestones": (5, 5)}, r"milestones=\(5, 5\) must increase"),
        ({"kind": "step", "milestones": (5,), "warmup_steps": 5}, r".* exceed warmup_steps=5"),
    ],
)
def test_wrong_schedule(values, message):
    with pytest.raises(UserError, match=f"config.schedule.{message}"):
        ScheduleConfig(**values)


def group(**settings):
    """The optimizer's field with one group."""
    return {"groups": ({"pattern": "x", **settings},)}


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
        ({"momentum": 1.0}, "momentum must be in"),
        ({"groups": ({"frozen": True},)}, r"groups\[0\].pattern is missing"),
        ({"groups": ({"pattern": ""},)}, r"groups\[0\].pattern is missing"),
        ({"groups": ({"pattern": "("},)}, r"groups\[0\].pattern='\(' is no pattern"),
        (group(frozn=True), r"groups\[0\].frozn: unknown setting, did you mean 'frozen'"),
        (group(learning_rate=0.1), r"groups\[0\].learning_rate: .* 'learning_rate_factor'"),
        (group(learning_rate_factor=0.0), r"groups\[0\].learning_rate_factor must be positive"),
        (group(kind="sdg"), r"groups\[0\].kind='sdg': did you mean 'sgd'"),
        (group(kind="sgd", b1=0.5), r"groups\[0\].b1: kind 'sgd' does not read it"),
        (group(momentum=0.5), r"groups\[0\].momentum: kind 'adamw' does not read it"),
        (group(frozen=True, weight_decay=0.1), r"groups\[0\].weight_decay: the group is frozen"),
        (group(weight_decay=-0.1), r"groups\[0\].weight_decay must not be negative"),
        (group(weight_decay="1"), r"groups\[0\].weight_decay='1': expected float"),
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


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_that_of_pytorch(nesterov):
    """Decay is added to the gradient, momentum taken after that; also without either."""
    momentum, decay, rate = 0.9, 0.1, 0.1
    config = OptimizerConfig(
        kind="sgd", learning_rate=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )
    optimizer = make_optimizer(config, lambda step: rate)
    params = {"kernel": jnp.array([0.5, -1.0]), "bias": jnp.array([2.0])}
    expected = {name: (np.asarray(p), np.zeros(p.shape)) for name, p in params.items()}
    state = optimizer.init(params)
    for step in range(3):
        gradients = jax.tree.map(lambda p, step=step: jnp.cos(p + step), params)
        for name, (p, buffer) in expected.items():  # the loop of torch.optim.sgd
            g = np.cos(p + step) + (decay * p if name == "kernel" else 0)
            buffer = momentum * buffer + g
            g = g + momentum * buffer if nesterov else buffer
            expected[name] = p - rate * g, buffer
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        for name, (p, _) in expected.items():
            np.testing.assert_allclose(params[name], p, rtol=1e-6)
    plain = one_step({"a": jnp.ones(2)}, {"a": jnp.ones(2)}, kind="sgd", momentum=0.0)
    np.testing.assert_allclose(plain["a"], 0.9)


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


PARAMS = {
    "backbone": {"stem": {"kernel": jnp.array([1.0, -2.0])}, "bias": jnp.array([-0.0, 3.0])},
    "head": {"kernel": jnp.array([0.5, 0.25]), "bias": jnp.array([1.0])},
}


def several_steps(optimizer, params, count=3):
    """Steps whose gradients depend on the parameters; returns these and the optimizer's state."""
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step in range(count):
        gradients = jax.tree.map(lambda p, step=step: jnp.sin(3 * p + step), params)
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_trees_close(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found, expected
    )


def test_groups_are_optimizers_of_their_own():
    """The first match wins; what a group leaves out, and who is in none, follows the section."""
    schedule = make_schedule(ScheduleConfig(init_value=0.1, warmup_steps=2, decay_steps=9), 0.2)
    groups = [
        {"pattern": "bias$", "kind": "sgd", "momentum": 0.5, "no_decay": ""},
        {"pattern": "^backbone/", "learning_rate_factor": 0.1, "b1": 0.5},
    ]
    shared = {"learning_rate": 0.2, "weight_decay": 0.3}
    config = OptimizerConfig(**shared, groups=tuple(groups))
    found, _ = several_steps(make_optimizer(config, schedule), PARAMS)
    sgd = OptimizerConfig(**shared, kind="sgd", momentum=0.5, no_decay="")
    by_sgd, _ = several_steps(make_optimizer(sgd, schedule), PARAMS)
    slow = OptimizerConfig(**shared, b1=0.5)
    by_slow, _ = several_steps(make_optimizer(slow, lambda step: schedule(step) / 10), PARAMS)
    plain, _ = several_steps(make_optimizer(OptimizerConfig(**shared), schedule), PARAMS)
    expected = {
        "backbone": {"stem": by_slow["backbone"]["stem"], "bias": by_sgd["backbone"]["bias"]},
        "head": {"kernel": plain["head"]["kernel"], "bias": by_sgd["head"]["bias"]},
    }
    assert_trees_close(found, expected)


def test_frozen_groups_keep_their_bits_and_take_no_memory():
    config = OptimizerConfig(
        learning_rate=0.1,
        weight_decay=0.5,
        no_decay="",
        clip_norm=0.1,
        groups=({"pattern": "backbone", "frozen": True},),
    )
    optimizer = make_optimizer(config, lambda step: 0.1)
    found, state = several_steps(optimizer, PARAMS)
    assert_identical_bits(found["backbone"], PARAMS["backbone"])
    alone, _ = several_steps(
        make_optimizer(dataclasses.replace(config, groups=()), lambda step: 0.1), PARAMS["head"]
    )
    assert_trees_close(found["head"], alone)  # the clipped norm is that of the head
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    assert sum(x.size for x in moments) == 2 * 3  # of the head

    def loss(params):
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(hold_frozen(params, config)))

    gradients = jax.grad(loss)(PARAMS)
    assert not any(x.any() for x in jax.tree.leaves(gradients["backbone"]))
    assert all(x.all() for x in jax.tree.leaves(gradients["head"]))


def assert_identical_bits(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.view("i4"), b.view("i4")), one, other)


def test_group_may_clip_on_its_own():
    """A norm of its own, or none, for it alone; the others' is theirs."""
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0]), "c": jnp.array([100.0])}
    params = jax.tree.map(jnp.zeros_like, gradients)
    settings = {"kind": "sgd", "momentum": 0.0, "clip_norm": 1.0}
    for own, expected in ((10.0, 10.0), (None, 100.0)):
        new = one_step(gradients, params, **settings, groups=({"pattern": "c", "clip_norm": own},))
        for name, value in {"a": 3 / 5, "b": 4 / 5, "c": expected}.items():
            np.testing.assert_allclose(new[name], -0.1 * value, rtol=1e-6)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["backbne/"], r"groups\[0\].pattern='backbne/' gets no .*: no path .* are backbone, "),
        (["head", "^head/bias"], r"groups\[1\].pattern='\^head/bias' .* earlier groups have all"),
        (["zzz$"], "no path matches; there are backbone, head"),
    ],
)
def test_groups_without_parameters_are_refused(patterns, message):
    groups = tuple({"pattern": pattern} for pattern in patterns)
    config = OptimizerConfig(learning_rate=1.0, groups=groups)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(make_optimizer(config, lambda step: 1.0).init, PARAMS)


@pytest.mark.parametrize("kind", ["adamw", "lamb"])
def test_without_groups_the_state_is_that_of_older_runs(kind):
    """Names of the arrays in checkpoints, as before there were groups."""
    config = OptimizerConfig(kind=kind, learning_rate=1.0, weight_decay=0.1, clip_norm=1.0)
    state = make_optimizer(config, optax.constant_schedule(1.0)).init({"bias": jnp.zeros(1)})
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(state)]
    moments = ["[1][0].count", "[1][0].mu['bias']", "[1][0].nu['bias']"]
    last = "[1][2].count" if kind == "adamw" else "[1][3].count"
    assert paths == [*moments, last]
    clip, inner = state
    assert clip == optax.EmptyState() and len(inner) == (3 if kind == "adamw" else 4)


def test_two_networks_with_two_optimizers_in_one_step():
    """A GAN's losses in one, the other network held by stop_gradient: two optimizers by hand."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "discriminator": {"in": jax.random.normal(keys[0], (2, 8)), "out": jnp.ones((8, 1)) / 8},
        "generator": {"in": jax.random.normal(keys[1], (4, 8)), "out": jnp.ones((8, 2)) / 8},
    }
    noise, real = jax.random.normal(keys[2], (16, 4)), 2 + jax.random.normal(keys[3], (16, 2))

    def network(weights, x):
        return jnp.tanh(x @ weights["in"]) @ weights["out"]

    def loss_d(discriminator, fakes):
        both = network(discriminator, fakes), network(discriminator, real)
        return jnp.mean(jax.nn.softplus(both[0]) + jax.nn.softplus(-both[1]))

    def loss_g(generator, discriminator):
        return jnp.mean(jax.nn.softplus(-network(discriminator, network(generator, noise))))

    def together(params):
        hold = jax.lax.stop_gradient
        generator, discriminator = params["generator"], params["discriminator"]
        fakes = hold(network(generator, noise))
        return loss_d(discriminator, fakes) + loss_g(generator, hold(discriminator))

    config = OptimizerConfig(
        learning_rate=0.02,
        b1=0.0,
        b2=0.99,
        clip_norm=0.1,
        groups=(
            {
                "pattern": "^discriminator/",
                "learning_rate_factor": 2.0,
                "b1": 0.5,
                "clip_norm": 0.2,
            },
        ),
    )
    optimizer = make_optimizer(config, optax.constant_schedule(0.02))
    by_hand = {
        "discriminator": optax.chain(optax.clip_by_global_norm(0.2), optax.adam(0.04, 0.5, 0.99)),
        "generator": optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.02, 0.0, 0.99)),
    }

    @jax.jit
    def step(found, state, expected, states):
        updates, state = optimizer.update(jax.grad(together)(found), state, found)
        found = optax.apply_updates(found, updates)
        fakes = network(expected["generator"], noise)
        gradients = {
            "discriminator": jax.grad(loss_d)(expected["discriminator"], fakes),
            "generator": jax.grad(loss_g)(expected["generator"], expected["discriminator"]),
        }
        new, new_states = {}, {}
        for name, rule in by_hand.items():
            updates, new_states[name] = rule.update(gradients[name], states[name], expected[name])
            new[name] = optax.apply_updates(expected[name], updates)
        return found, state, new, new_states

    states = {name: rule.init(params[name]) for name, rule in by_hand.items()}
    found, state, expected = params, optimizer.init(params), params
    for _ in range(20):
        found, state, expected, states = step(found, state, expected, states)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    jax.tree.map(lambda a, b: np.testing.assert_array_less(0.01, abs(a - b).max()), found, params)


@pytest.mark.parametrize("name", ["aewin_tiny", "caformer_s18"])
def test_layer_decay_finds_the_layers_of_every_family(name):
    depths = (1, 1, 3, 1)
    model = maxvit_jax.create_model(name, depths=depths)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    groups = layer_decay(depths, 0.5)
    rates = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(shapes):
        full = f"backbone/{jax.tree_util.keystr(path, simple=True, separator='/')}"
        found = [g["learning_rate_factor"] for g in groups if re.search(g["pattern"], full)]
        rates.setdefault(full.split("/")[1], set()).update(found or [1.0])
    expected = {"stem": 0.5**7, "stage_1_block_0": 0.5**6, "stage_2_block_0": 0.5**5}
    expected |= {f"stage_3_block_{i}": 0.5 ** (4 - i) for i in range(3)}
    expected |= {"stage_4_block_0": 0.5, "head": 1.0}
    between = {n: 0.5 ** {"2": 5, "3": 4, "4": 1}[n[6]] for n in rates if n not in expected}
    assert rates == {n: {rate} for n, rate in (expected | between).items()}
    config = OptimizerConfig(learning_rate=1.0, groups=groups)
    jax.eval_shape(make_optimizer(config, lambda step: 1.0).init, shapes)  # none is empty


def test_layer_decay_finds_position_embeddings():
    """With the block that follows them; they are arrays of the network itself."""
    (pattern,) = {
        g["pattern"] for g in layer_decay((1, 2), 0.5) if "stage_2_((block_0" in g["pattern"]
    }
    assert re.search(pattern, "stage_2_positions")
    assert not re.search(pattern, "stage_2_block_1/norm/scale")


def test_run_with_groups(tmp_path):
    """Stopped and continued, with the same bits and types; what is frozen stays, in the average as
    well."""
    groups = [
        {"pattern": "^Dense_0/", "frozen": True},
        {"pattern": "^Dense_1/", "kind": "sgd", "learning_rate_factor": 0.5},
    ]
    changes = {"optimizer.groups": groups, "optimizer.mu_dtype": "bfloat16", "train.num_steps": 4}
    settings = quick(changes)
    run(settings, tmp_path / "whole", small=True)
    run(settings | {"train": settings["train"] | {"num_steps": 2}}, tmp_path / "parts", small=True)
    run(settings, tmp_path / "parts", small=True)
    first, last = stored(tmp_path / "parts", 2), stored(tmp_path / "parts", 4)
    assert_identical(last, stored(tmp_path / "whole", 4))
    frozen = [name for name in last if "Dense_0" in name]
    assert frozen == ["ema/params/Dense_0/kernel", "params/Dense_0/kernel"]
    assert_identical({n: last[n] for n in frozen}, {n: first[n] for n in frozen})
    np.testing.assert_array_equal(*(last[name] for name in frozen))
    assert (last["params/Dense_1/kernel"] != first["params/Dense_1/kernel"]).any()
    for part, count in {"/mu/": 2, "/trace/": 2}.items():  # of BatchNorm, of Dense_1
        moments = [x.dtype for name, x in last.items() if part in name]
        assert moments == count * [np.dtype(jnp.bfloat16)]
    assert {x.dtype for name, x in last.items() if "/nu/" in name} == {np.dtype("float32")}
    groups[0]["pattern"] = "^Dence_0/"
    with pytest.raises(UserError, match=r"groups.0..pattern='.Dence_0/' gets no .*Dense"):
        run(settings, tmp_path / "typo", small=True)
