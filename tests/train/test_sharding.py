"""Meshes, where arrays go, and that none of it changes what is computed."""

import itertools
import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P

from common.data.pipeline import train_batches
from common.errors import UserError
from common.train import sharding
from common.train.evaluate import put
from common.train.optimizer import OptimizerConfig, make_optimizer
from common.train.schedule import ScheduleConfig, make_schedule
from common.train.sharding import MeshConfig, make_mesh, tree_shardings
from common.train.state import create_state, make_train_step
from tests.train import tiny

BLOCK = "stage_1_block_1/window"


def mesh(**sizes):
    return make_mesh(MeshConfig(**sizes))


@pytest.fixture(scope="module")
def state():
    """The shapes of a whole train state."""
    task = tiny.make_task(tiny.config())
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1.0, clip_norm=1.0), lambda step: 1.0)
    return jax.eval_shape(
        lambda rng: create_state(task.init(rng), optimizer, ema=True), jax.random.key(0)
    )


def specs(tree, mesh):
    """The spec of every array by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree_shardings(tree, mesh))
    return {jax.tree_util.keystr(p, simple=True, separator="/"): s.spec for p, s in leaves}


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({}, (8, 1, 1)),
        ({"fsdp": 2, "tensor": 2}, (2, 2, 2)),
        ({"data": 1, "fsdp": -1}, (1, 8, 1)),
        ({"data": 2, "fsdp": 4, "tensor": 1}, (2, 4, 1)),
    ],
)
def test_mesh(sizes, shape):
    assert tuple(mesh(**sizes).shape.items()) == tuple(
        zip(("data", "fsdp", "tensor"), shape, strict=True)
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 3}, "'data': 3.* does not fit 8 devices"),
        ({"fsdp": 3}, "does not fit 8 devices"),
        ({"fsdp": 16}, "does not fit 8 devices"),
        ({"fsdp": -1}, "at most one is -1"),
        ({"data": 0}, "sizes are positive"),
        ({"tensor": -2}, "sizes are positive"),
    ],
)
def test_wrong_mesh(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh(**sizes)


@pytest.mark.parametrize(("size", "nearest"), [(12, 16), (9, 8), (3, 8), (31, 32)])
def test_batch_size_names_the_nearest(size, nearest):
    with pytest.raises(UserError, match=f"data.batch_size={size} .* over 8 .* valid: {nearest}$"):
        sharding.check_batch_size(size, mesh(), "config.data.batch_size")


def test_batch_size_counts_accumulation_and_not_the_tensor_axis():
    split = mesh(fsdp=2, tensor=2)
    sharding.check_batch_size(12, split, "size", parts=3)
    with pytest.raises(UserError, match="over 12 parts"):
        sharding.check_batch_size(16, split, "size", parts=3)


def test_one_device_per_copy_keeps_arrays_whole(state):
    assert all(not any(spec) for spec in specs(state, mesh()).values())


def test_tensor_rules(state):
    found = specs(state.params, mesh(tensor=2))
    split = {
        f"{BLOCK}/attention/qkv/kernel": P(None, None, "tensor", None),
        f"{BLOCK}/attention/qkv/bias": P(None, "tensor", None),
        f"{BLOCK}/attention/out/kernel": P("tensor", None, None),
        f"{BLOCK}/mlp/expand/kernel": P(None, "tensor"),
        f"{BLOCK}/mlp/expand/bias": P("tensor"),
        f"{BLOCK}/mlp/shrink/kernel": P("tensor", None),
    }
    assert {name: found[name] for name in split} == split
    layers = {name.removeprefix(f"{BLOCK}/") for name in split}
    for name, spec in found.items():  # the same in every attention, nowhere else
        assert any(spec) == any(name.endswith(f"/{layer}") for layer in layers), name


def test_a_side_that_does_not_divide_stays_whole(state):
    found = specs(state.params, mesh(data=1, tensor=8))  # two heads, 256 hidden channels
    assert not any(found[f"{BLOCK}/attention/qkv/kernel"])
    assert found[f"{BLOCK}/mlp/expand/kernel"] == P(None, "tensor")


def test_fsdp_splits_the_longest_side_of_large_arrays(state):
    found = specs(state.params, mesh(fsdp=4))
    shapes = {
        jax.tree_util.keystr(p, simple=True, separator="/"): leaf.shape
        for p, leaf in jax.tree_util.tree_leaves_with_path(state.params)
    }
    assert found[f"{BLOCK}/mlp/expand/kernel"] == P(None, "fsdp")
    for name, spec in found.items():
        assert ("fsdp" in spec) == (math.prod(shapes[name]) >= sharding.MIN_FSDP_SIZE), name


def test_fsdp_takes_a_side_that_tensor_left(state):
    found = specs(state.params, mesh(fsdp=2, tensor=2))
    assert found[f"{BLOCK}/mlp/expand/kernel"] == P("fsdp", "tensor")
    assert found[f"{BLOCK}/mlp/shrink/kernel"] == P("tensor", "fsdp")


def test_moments_and_averages_follow_their_parameter(state):
    found = specs(state, mesh(fsdp=2, tensor=2))
    followed = 0
    for name, spec in found.items():
        for part in ("/mu/", "/nu/", "ema/params/"):
            if part in name:
                assert spec == found[f"params/{name.partition(part)[2]}"], name
                followed += 1
    assert followed == 3 * len(jax.tree.leaves(state.params))
    assert found["step"] == P()


def test_bytes_per_device_shrink_under_fsdp(state):
    def bytes_on_first_device(mesh):
        arrays = jax.jit(
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), state.params),
            out_shardings=tree_shardings(state.params, mesh),
        )()
        return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(arrays))

    whole, cut = bytes_on_first_device(mesh()), bytes_on_first_device(mesh(data=1, fsdp=8))
    leaves = jax.tree.leaves(state.params)
    large = sum(4 * x.size for x in leaves if x.size >= sharding.MIN_FSDP_SIZE)
    assert whole == sum(4 * x.size for x in leaves)
    assert cut == whole - large + large // 8
    assert cut < whole / 2


@pytest.fixture(scope="module")
def losses():
    """Ten steps of a MaxViT block with mixup on each mesh, from the same weights and batches."""
    config = tiny.config({"model.depths": [1]})
    task = tiny.make_task(config)
    optimizer = make_optimizer(
        OptimizerConfig(**config["optimizer"]),
        make_schedule(ScheduleConfig(warmup_steps=2, decay_steps=20), 1e-3),
    )
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    batches = list(itertools.islice(train_batches(*task.train_data(), batch_size=8, seed=0), 10))

    def run(mesh):
        state = create_state(variables, optimizer, ema=True)
        places = tree_shardings(state, mesh)
        step = jax.jit(
            make_train_step(task, optimizer, seed=0, ema_decay=0.9),
            in_shardings=(places, sharding.batch_sharding(mesh)),
            out_shardings=(places, sharding.replicated(mesh)),
            donate_argnums=0,
        )
        state, found = jax.device_put(state, places), []
        for batch in batches:
            state, metrics = step(state, put(batch, mesh))
            found.append(float(metrics["loss"]))
        return found

    one = make_mesh(MeshConfig(), jax.devices()[:1])
    return [run(m) for m in (one, mesh(), mesh(data=2, fsdp=2, tensor=2))]


def assert_close(found, expected):
    """Losses differ by the order of float32 sums: about 1e-7 at first, and Adam's division by
    the root of small second moments makes it grow step by step. A wrong mean, mask or random
    number shows in the first step, by 1e-3 and more."""
    assert len(expected) == 10 and np.ptp(expected) > 0.02
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mesh_does_not_change_the_losses(losses):
    one_device, eight_copies, all_axes = losses
    assert_close(eight_copies, one_device)
    assert_close(all_axes, one_device)


def test_mesh_may_change_halfway(tmp_path):
    """With dropout, whose random numbers must not depend on where an example lies."""
    changes = {"train.log_every": 1, "eval.every_steps": 100, "task.mixup_alpha": 0.5}
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    final = tiny.quick(changes | {"train.num_steps": 10})
    tiny.run(final, whole, small=True)
    sizes = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
    half = tiny.quick(changes | sizes | {"train.num_steps": 5})
    tiny.run(half, moved, devices=8, small=True)
    tiny.run(final, moved, devices=8, small=True)
    found, expected = (list(tiny.logged(path, "train/loss").values()) for path in (moved, whole))
    assert_close(found, expected)
    for metric in ("eval/loss", "eval/accuracy_top1", "eval/examples"):
        values = [tiny.logged(path, metric)[10] for path in (moved, whole)]
        np.testing.assert_allclose(*values, rtol=1e-4)
