"""The step: moving averages, accumulation, donation, randomness."""

from functools import partial

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from common.train.state import create_state, make_train_step

BATCH, WIDTH = 12, 5


class Regression:
    """A task that is a formula: squared error; `batch_stats` hold the last mean of the inputs."""

    def init(self, rng):
        weights = jax.random.normal(rng, (WIDTH,))
        return {
            "params": {"w": weights},
            "batch_stats": {"mean": jnp.zeros(WIDTH)},
            "constants": {"shift": jnp.float32(0.5)},
        }

    def loss(self, variables, batch, rng):
        shifted = batch["y"] + variables["constants"]["shift"]
        error = batch["x"] @ variables["params"]["w"] - shifted
        stats = {"mean": 0.5 * variables["batch_stats"]["mean"] + 0.5 * batch["x"].mean(0)}
        metrics = {"noise": jax.random.uniform(rng), "largest": jnp.abs(error).mean()}
        return jnp.mean(error**2), (stats, metrics)


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [
        {
            "x": rng.normal(size=(BATCH, WIDTH)).astype(np.float32),
            "y": rng.normal(size=BATCH).astype(np.float32),
        }
        for _ in range(5)
    ]


def advance(batches, *, ema_decay=None, seed=0, **options):
    """Returns all states, the first one included, and the metrics of each step."""
    task, optimizer = Regression(), optax.sgd(0.1)
    state = create_state(task.init(jax.random.key(0)), optimizer, ema=ema_decay is not None)
    step = jax.jit(make_train_step(task, optimizer, seed=seed, ema_decay=ema_decay, **options))
    states, metrics = [state], []
    for batch in batches:
        state, values = step(state, batch)
        states.append(state)
        metrics.append(values)
    return states, metrics


def test_step_is_gradient_descent(batches):
    (before, after), (metrics,) = advance(batches[:1])
    x, y, w = batches[0]["x"], batches[0]["y"] + 0.5, np.asarray(before.params["w"])
    gradient = 2 * x.T @ (x @ w - y) / BATCH
    np.testing.assert_allclose(after.params["w"], w - 0.1 * gradient, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.mean((x @ w - y) ** 2), rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(gradient), rtol=1e-5)
    np.testing.assert_allclose(after.batch_stats["mean"], 0.5 * x.mean(0), rtol=1e-5, atol=1e-7)
    assert (before.step, after.step) == (0, 1)


@pytest.mark.parametrize("decay", [0.15, 0.99])
def test_moving_average(batches, decay):
    """TensorFlow's: the decay of step t, from 0, is min(decay, (1 + t) / (10 + t))."""
    states, _ = advance(batches, ema_decay=decay)
    weights, mean = (np.asarray(x) for x in (states[0].params["w"], states[0].batch_stats["mean"]))
    for t, state in enumerate(states[1:]):
        d = min(decay, (1 + t) / (10 + t))
        weights = d * weights + (1 - d) * np.asarray(state.params["w"])
        mean = d * mean + (1 - d) * np.asarray(state.batch_stats["mean"])
        np.testing.assert_allclose(state.ema["params"]["w"], weights, rtol=1e-5)
        np.testing.assert_allclose(state.ema["batch_stats"]["mean"], mean, rtol=1e-5)
    final = states[-1]
    assert final.eval_variables == {**final.ema, "constants": {"shift": 0.5}}
    assert np.abs(final.ema["batch_stats"]["mean"] - final.batch_stats["mean"]).max() > 1e-3


def test_without_moving_average(batches):
    state = advance(batches[:1])[0][-1]
    assert state.ema is None
    assert state.eval_variables == {
        "params": state.params,
        "batch_stats": state.batch_stats,
        "constants": {"shift": 0.5},
    }


def test_constants_are_not_trained(batches):
    """Nor averaged, nor known to the optimizer."""
    states, _ = advance(batches, ema_decay=0.9, accumulate_steps=2)
    assert all(state.constants == {"shift": 0.5} for state in states)
    assert set(states[-1].ema) == {"params", "batch_stats"}


@pytest.mark.parametrize("parts", [1, 2])
def test_held_parameters_have_no_gradient(batches, parts):
    """And no part in its norm; their average is they themselves, to the bit."""
    hold = partial(jax.tree.map, jax.lax.stop_gradient)
    states, metrics = advance(batches, accumulate_steps=parts, ema_decay=0.99, hold=hold)
    assert all(values["grad_norm"] == 0 < values["loss"] for values in metrics)
    for weights in (states[-1].params["w"], states[-1].ema["params"]["w"]):
        np.testing.assert_array_equal(weights, states[0].params["w"])


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_accumulation_is_the_whole_batch(batches, parts):
    """Three steps, so that a gradient off by a factor would show in the weights."""
    whole, expected = advance(batches[:3])
    cut, found = advance(batches[:3], accumulate_steps=parts)
    np.testing.assert_allclose(cut[-1].params["w"], whole[-1].params["w"], rtol=1e-5)
    for one, other in zip(expected, found, strict=True):
        for name in ("loss", "grad_norm", "largest"):
            np.testing.assert_allclose(other[name], one[name], rtol=1e-5)


def test_accumulated_batch_statistics_are_those_of_the_parts_in_turn(batches):
    state = advance(batches[:1], accumulate_steps=3)[0][-1]
    mean = np.zeros(WIDTH)
    for i in range(3):
        mean = 0.5 * mean + 0.5 * batches[0]["x"][i::3].mean(0)
    np.testing.assert_allclose(state.batch_stats["mean"], mean, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 3])
def test_randomness_is_a_function_of_seed_and_step(batches, parts):
    def noise(**options):
        return [
            float(m["noise"]) for m in advance(batches[:2], accumulate_steps=parts, **options)[1]
        ]

    first = noise(seed=1)
    assert noise(seed=1) == first
    assert first[0] != first[1]
    assert not set(noise(seed=2)) & set(first)


def test_randomness_does_not_depend_on_the_way_to_a_step(batches):
    """The second step of a run is the first of one that starts there."""
    (_, state, after), metrics = advance(batches[:2])
    step = make_train_step(Regression(), optax.sgd(0.1), seed=0)
    again, values = step(state, batches[1])
    assert values["noise"] == metrics[1]["noise"]
    np.testing.assert_allclose(again.params["w"], after.params["w"], rtol=1e-6)


def test_parts_have_their_own_randomness(batches):
    """The mean over parts of equal draws would be one of them."""
    whole = advance(batches[:1])[1][0]["noise"]
    rng = jax.random.fold_in(jax.random.key(0), 0)
    draws = [jax.random.uniform(jax.random.fold_in(rng, i)) for i in range(2)]
    cut = advance(batches[:1], accumulate_steps=2)[1][0]["noise"]
    np.testing.assert_allclose(cut, (draws[0] + draws[1]) / 2, rtol=1e-6)
    assert cut != whole and draws[0] != draws[1]


def test_every_buffer_is_donated(batches):
    task, optimizer = Regression(), optax.adam(0.1)
    state = create_state(task.init(jax.random.key(0)), optimizer, ema=True)
    step = make_train_step(task, optimizer, seed=0, ema_decay=0.9)
    new, _ = jax.jit(step, donate_argnums=0)(state, batches[0])
    assert all(x.is_deleted() for x in jax.tree.leaves(state))
    assert not any(x.is_deleted() for x in jax.tree.leaves(new))
