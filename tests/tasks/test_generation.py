"""Generation: one step for two networks, what it stores, and what evaluation sees."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.train.optimizer import OptimizerConfig, make_optimizer
from common.train.state import create_state, make_train_step
from maxvit_jax import gans
from maxvit_jax.generation import between, draw_latents, from_pixels
from maxvit_jax.generation_loss import discriminator_loss, generator_loss, squared_gradients
from tests.golden.weights import make_variables
from tests.tasks.gans import SIDE, config, make_task, source
from tests.train import tiny

BATCH = {"image": np.stack([source()[i]["image"] for i in range(8)])}


def variables_of(task):
    return make_variables(task.model, jax.ShapeDtypeStruct((1, 6), jnp.float32))


def advance(task, steps):
    """States of some steps on one batch, and the metrics of each."""
    section = task_optimizer()
    optimizer = make_optimizer(section, optax.constant_schedule(section.learning_rate))
    state = create_state(variables_of(task), optimizer, ema=True)
    decay, start = section.ema_decay, section.ema_start
    step = jax.jit(make_train_step(task, optimizer, seed=0, ema_decay=decay, ema_start=start))
    states, found = [state], []
    for _ in range(steps):
        state, metrics = step(state, BATCH)
        states.append(state)
        found.append(metrics)
    return states, found


def task_optimizer():
    section = config()["optimizer"]
    return OptimizerConfig(**section | {"groups": tuple(section["groups"])})


@pytest.fixture(scope="module")
def trained():
    """Three steps of a task with a lazy penalty, so that one of them has it."""
    task = make_task({"task.r1_every": 3})
    return task, *advance(task, 3)


def test_one_step_is_that_of_two_optimizers(trained):
    task, states, found = trained
    model, params = task.model, states[0].params
    section = task_optimizer()
    rates = {"generator": section.learning_rate, "discriminator": 0.5 * section.learning_rate}
    optimizers = {name: optax.adam(rate, b1=0.0, b2=0.99) for name, rate in rates.items()}
    memory = {name: optimizers[name].init(params[name]) for name in rates}
    rng = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 4)[0]
    latents, real = jax.random.normal(rng, (8, 6)), from_pixels(BATCH["image"])

    def judge(discriminator, images):
        params = {"discriminator": discriminator}
        return model.apply({"params": params}, images, method="judge")

    @jax.jit
    def by_hand(params):
        def make(generator):
            variables = {"params": {"generator": generator}, "batch_stats": states[0].batch_stats}
            return model.apply(variables, latents, train=True, mutable=["batch_stats"])

        def of_generator(generator):
            logits = judge(params["discriminator"], make(generator)[0])
            return generator_loss(logits, loss="non_saturating")

        def of_discriminator(discriminator):
            logits = (judge(discriminator, images) for images in (real, made))
            penalty, _ = squared_gradients(lambda images: judge(discriminator, images), real)
            return discriminator_loss(*logits, loss="non_saturating") + 3 * penalty

        made, updates = make(params["generator"])
        grads = {
            "generator": jax.grad(of_generator)(params["generator"]),
            "discriminator": jax.grad(of_discriminator)(params["discriminator"]),
        }
        updated = {}
        for name, grad in grads.items():
            change, _ = optimizers[name].update(grad, memory[name], params[name])
            updated[name] = optax.apply_updates(params[name], change)
        return updated, updates["batch_stats"], optax.tree.norm(grads)

    updated, batch_stats, norm = by_hand(params)
    np.testing.assert_allclose(found[0]["grad_norm"], norm, rtol=1e-5)
    # Adam's first step has one length wherever the gradient isn't rounding.
    close = jax.tree.map(lambda a, b: np.abs(a - b).max(), states[1].params, updated)
    assert max(jax.tree.leaves(close)) < 2e-6
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        states[1].batch_stats,
        batch_stats,
    )


def test_penalty_comes_every_third_step(trained):
    _, _, found = trained
    penalties = [float(metrics["r1_penalty"]) for metrics in found]
    assert penalties[0] > 0 and penalties[1:] == [0, 0]
    for metrics in found:
        parts = ("generator_loss", "discriminator_loss", "r1_penalty")
        assert metrics["loss"] == pytest.approx(sum(float(metrics[name]) for name in parts))


def test_average_begins_at_its_step(trained):
    _, states, _ = trained
    weights = [np.asarray(s.params["generator"]["seed"]["kernel"]) for s in states]
    averages = [np.asarray(s.ema["params"]["generator"]["seed"]["kernel"]) for s in states]
    np.testing.assert_allclose(averages[1], weights[1], rtol=1e-6)  # 0 steps done before
    expected = weights[1] + (1 - 2 / 11) * (weights[2] - weights[1])
    np.testing.assert_allclose(averages[2], expected, rtol=1e-5, atol=1e-7)
    assert np.abs(averages[3] - weights[3]).max() > 1e-5


def test_penalty_has_the_second_derivative():
    """Of a function whose penalty is known: sum(w x^2) has 4 w^2 x^2, by w 8 w x^2."""
    x = jnp.arange(1.0, 9.0).reshape(2, 2, 2, 1)

    def penalty(w):
        return squared_gradients(lambda images: w * jnp.square(images).sum((1, 2, 3)), x)[0]

    value, slope = jax.value_and_grad(penalty)(3.0)
    squares = float(jnp.square(x).sum()) / 2
    assert value == pytest.approx(36 * squares) and slope == pytest.approx(24 * squares)


def test_a_step_of_the_discriminator_lowers_its_loss():
    """On fixed images; with augmentation and consistency, whose gradients join in."""
    changes = {"task.augment": ["color", "translation"], "task.consistency_weight": 10.0}
    task = make_task(changes | {"task.loss": "hinge"})
    variables = variables_of(task)

    def loss(params):
        rest = dict(variables) | {"params": variables["params"] | {"discriminator": params}}
        _, (_, metrics) = task.loss(rest, BATCH | {"step": 0}, jax.random.key(1))
        names = ("discriminator_loss", "r1_penalty", "consistency")
        return sum(metrics[name] for name in names), metrics

    @jax.jit
    def step(params):
        (before, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        moved = jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)
        return before - loss(moved)[0], 1e-6 * optax.tree.norm(grads, squared=True), metrics

    lower, expected, metrics = step(variables["params"]["discriminator"])
    assert metrics["consistency"] > 0 and lower == pytest.approx(float(expected), rel=0.2)


def test_made_images_belong_to_positions():
    task = make_task()
    variables = variables_of(task)
    predict = jax.jit(task.predict)
    positions = np.arange(4, dtype=np.int32)
    outputs = predict(variables, {"position": positions})
    images, strip = outputs["image"], outputs["strip"]
    assert images.shape == (4, SIDE, SIDE, 3) and images.dtype == np.uint8
    turned = predict(variables, {"position": positions[::-1]})["image"]
    np.testing.assert_array_equal(turned, images[::-1])
    ends = np.stack((strip[0], strip[3])).astype(int)  # from the first image to the second
    np.testing.assert_allclose(ends, images[:2], atol=1)
    first, last = np.eye(2, 6) * 3
    middle = between(first, last, np.full(1, 0.5))[0]
    np.testing.assert_allclose(middle, (first + last) / np.sqrt(2), atol=1e-5)
    dataset = task.eval_data()["eval"]
    assert dataset.transform(dataset.source[5])["position"] == 5
    near, latents = (np.asarray(draw_latents(0, range(200), 6, bound)) for bound in (0.5, np.inf))
    assert np.abs(near).max() <= 0.5 and near.std() > 0.25
    assert abs(latents.std() - 1) < 0.1 and np.abs(latents).max() > 2.5


def test_a_generator_alone_is_gone_on_from(tmp_path):
    task = make_task({"init.weights": str(tmp_path / "own")})
    model, variables = task.model.clone(generator_only=True), variables_of(task)
    params = {"generator": variables["params"]["generator"]}
    gans.save_pretrained(tmp_path / "own", model, dict(variables) | {"params": params})
    given = task.pretrained()
    assert not jax.tree.leaves(given["params"].pop("discriminator")) and given["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, given["params"], params)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps in one go, with pictures."""
    workdir = tmp_path_factory.mktemp("gan") / "whole"
    return workdir, tiny.run(config(PICTURES), workdir, task=make_task(PICTURES))


PICTURES = {"train.sample_images": True}


def test_run_leaves_numbers_pictures_and_whose_features_they_are_by(run):
    workdir, results = run
    assert results["eval/frechet_distance"] > 0 and 0 <= results["eval/precision"] <= 1
    for name in ("train_images_00000000", "eval_images_00000004", "eval_strip_00000004"):
        assert (workdir / "samples" / f"{name}.png").exists()
    labels = json.loads((workdir / "labels.json").read_text())
    assert labels == {"features": {"name": "pixels at 8x8"}}


def test_interrupted_run_ends_with_the_same_bits(run, tmp_path):
    workdir, _ = run
    shutil.copytree(workdir, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/4")
    tiny.run(config(PICTURES), tmp_path / "cut", task=make_task(PICTURES))
    tiny.assert_identical(tiny.stored(tmp_path / "cut", 4), tiny.stored(workdir, 4))


@pytest.mark.slow
def test_devices_do_not_change_the_losses(run, tmp_path):
    workdir, results = run
    changes = {"mesh": {"data": 4, "fsdp": 2}}
    others = tiny.run(config(changes), tmp_path, task=make_task(changes), devices=8)
    for name in ("train/generator_loss", "train/discriminator_loss", "train/r1_penalty"):
        one, other = (tiny.logged(folder, name) for folder in (workdir, tmp_path))
        np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=2e-3)
    assert others["eval/frechet_distance"] == pytest.approx(
        results["eval/frechet_distance"], rel=2e-2
    )


@pytest.mark.slow
def test_a_step_without_numbers_is_named(tmp_path):
    changes = {"optimizer.learning_rate": 1e30, "train.num_steps": 3}
    with pytest.raises(UserError, match=r"step [123]"):
        tiny.run(config(changes), tmp_path, task=make_task(changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task.augment": ["colour"]}, "'colour', did you mean 'color'"),
        ({"task.loss": "wasserstein"}, "config.task.loss='wasserstein'"),
        ({"task.r1_every": 0}, "config.task.r1_every must be positive"),
        ({"data.source": "image"}, "did you mean 'images'"),
        ({"model.generator_only": True}, "training needs a discriminator"),
        ({"model.in_channels": 1}, "images have 3 here"),
        ({"optimizer.ema_start": -1}, "ema_start must not be negative"),
    ],
)
def test_mistakes(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        tiny.run(config(changes), tmp_path, task=make_task(changes))
