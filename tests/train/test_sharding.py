"""Meshes, where arrays go, and that none of it changes what is computed."""

import dataclasses
import itertools
import math
import re

import jax
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import maxvit_jax
from common.config import parse_section
from common.data.pipeline import train_batches
from common.errors import UserError
from common.train import sharding
from common.train.collectives import collectives
from common.train.optimizer import OptimizerConfig, make_optimizer
from common.train.schedule import ScheduleConfig, make_schedule
from common.train.sharding import MeshConfig, make_mesh, put_batch, tree_shardings
from common.train.state import create_state, make_train_step
from configs import maxvit_xlarge
from maxvit_jax.tasks.classification import ClassificationTask
from tests.golden.weights import make_variables
from tests.train import tiny

BLOCK = "stage_1_block_1/window"


def mesh(**sizes):
    return make_mesh(MeshConfig(**sizes))


@pytest.fixture(scope="module", autouse=True)
def compiled_here():
    """No program comes out of the cache: stored ones on meshes of two axes, compiled quickly as for
    tests, let devices take collectives in different orders, and all wait for good (jaxlib 0.10.2).
    """
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    reset_cache()


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


@dataclasses.dataclass(frozen=True)
class Chip:
    """What JAX asks a TPU for to arrange it."""

    id: int
    coords: tuple[int, int, int]
    process_index: int
    slice_index: int
    core_on_chip: int = 0
    device_kind: str = "TPU v4"
    platform: str = "tpu"


def torus(width, height, slices=1):
    """Chips in JAX's order: row by row, four to a machine."""
    places = itertools.product(range(slices), range(height), range(width))
    return [
        Chip(id, (x, y, 0), (s * height // 2 + y // 2) * width // 2 + x // 2, s)
        for id, (s, y, x) in enumerate(places)
    ]


def test_mesh_follows_the_network():
    """Along each axis neighbours are a step from each other, and between slices goes the first."""
    chips = make_mesh(MeshConfig(tensor=4), torus(2, 4)).devices  # in their order, a block of four
    for axis, length in ((0, 2), (2, 4)):
        for i in range(length - 1):
            pairs = zip(chips.take(i, axis).flat, chips.take(i + 1, axis).flat, strict=True)
            for one, other in pairs:
                assert sum(abs(np.subtract(one.coords, other.coords))) == 1
    mixed = sorted(torus(4, 2, slices=2), key=lambda chip: chip.coords)
    chips = make_mesh(MeshConfig(tensor=2), mixed).devices
    assert [{chip.slice_index for chip in row.flat} for row in chips] == 4 * [{0}] + 4 * [{1}]
    whole = make_mesh(MeshConfig(), torus(4, 4)[:15]).devices  # fills no torus
    assert [chip.id for chip in whole.flat] == list(range(15))


def test_mesh_of_cpus_keeps_their_order():
    assert list(mesh(fsdp=2, tensor=2).devices.flat) == jax.devices()


@pytest.mark.parametrize("use", [sharding.batch_sharding, lambda m: tree_shardings({}, m)])
def test_explicit_axes_are_refused(use):
    """What `jax.make_mesh` gives, where window partitions end in an error of JAX."""
    names = ("data", "fsdp", "tensor")
    with pytest.raises(
        UserError, match=r"Auto axes data, fsdp.* Explicit, .*AxisType.Auto,\) \* 3$"
    ):
        use(jax.make_mesh((8, 1, 1), names))
    with pytest.raises(UserError, match=r"have Auto axes data, fsdp, tensor, not \{'data': 8\}"):
        use(jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,)))
    use(jax.make_mesh((8, 1, 1), names, axis_types=(AxisType.Auto,) * 3))


@pytest.mark.parametrize(
    ("size", "nearest"), [(12, "8 or 16"), (3, "8"), (31, "24 or 32"), (0, "8")]
)
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


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("maxvit_tiny", {"attention/qkv": 8, "attention/out": 8, "mlp/expand": 8, "mlp/shrink": 8}),
        ("moat_0", {"attention/qkv": 2, "attention/out": 2}),  # its MLP is an MBConv
        ("aewin_tiny", {"attention/qkv": 4, "attention/out": 4, "mlp/expand": 4, "mlp/shrink": 4}),
        ("caformer_s18", {"attention/qkv": 2, "attention/out": 2, "mlp/expand": 4}),
        ("poolformer_s12", {"mlp/expand": 4, "mlp/shrink": 4}),
    ],
)
def test_tensor_rules_find_the_layers_of_every_family(name, split):
    """Kernels by layer, in a model of one block per stage."""
    model = maxvit_jax.create_model(name, depths=(1, 1, 1, 1))
    images = np.zeros((1, 224, 224, 3), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    found = [path for path, spec in specs(params, mesh(tensor=2)).items() if "tensor" in spec]
    for layer, count in split.items():
        assert sum(path.endswith(f"{layer}/kernel") for path in found) == count, layer


@pytest.mark.parametrize(("devices", "tensor", "nearest"), [(8, 4, 2), (8, 8, 2), (3, 3, 1)])
def test_heads_that_do_not_divide(state, devices, tensor, nearest):
    split = make_mesh(MeshConfig(data=-1, tensor=tensor), jax.devices()[:devices])
    message = rf"tensor={tensor} does not divide the 2 heads of \S+/attention/\S+;.*: {nearest}$"
    with pytest.raises(UserError, match=message):
        tree_shardings(state, split)


def test_hidden_channels_that_do_not_divide():
    kernel = jax.ShapeDtypeStruct((4, 12), np.float32)
    tree = {"block": {"mlp": {"expand": {"kernel": kernel}}}}
    message = "tensor=8 does not divide the 12 hidden channels of block/mlp/expand/kernel;.*: 4$"
    with pytest.raises(UserError, match=message):
        tree_shardings(tree, mesh(tensor=8))


def test_nothing_to_split_by_tensor():
    variables = jax.eval_shape(tiny.Small().init, jax.random.key(0), np.zeros((1, 8, 8, 3)))
    with pytest.raises(UserError, match=r"tensor=2: the model has no .*qkv.*; nearest valid: 1$"):
        tree_shardings(variables, mesh(tensor=2))


def test_state_that_is_less_than_its_parameters():
    """Rows and columns of factored second moments, and single values, lie under the paths of
    parameters that rules are about."""
    shapes = {
        "attention/qkv/kernel": (8, 3, 4, 16),
        "attention/out/kernel": (4, 16, 8),
        "mlp/expand/kernel": (128, 256),
        "mlp/expand/bias": (256,),
        "mlp/shrink/kernel": (256, 128),
    }
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    scalars = {name: jax.ShapeDtypeStruct((), np.float32) for name in shapes}
    factored = jax.eval_shape(optax.adafactor(1e-3).init, params)[0]
    state = {"v": factored.v, "less": [factored.v_row, factored.v_col, scalars]}
    split = mesh(fsdp=2, tensor=4)
    whole, found = specs(params, split), specs(state, split)
    assert all("tensor" in spec for spec in whole.values())
    for name in ("attention/qkv/kernel", "mlp/expand/bias"):  # too small to be factored
        assert found[f"v/{name}"] == whole[name]
    assert not any("tensor" in spec for name, spec in found.items() if name.startswith("less"))
    places = tree_shardings(state, split)
    jax.tree.map(lambda x, place: place.shard_shape(x.shape), state, places)


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


@pytest.mark.parametrize(
    "sizes",
    [
        {"data": 1, "fsdp": 8},
        pytest.param({"data": 2, "fsdp": 2, "tensor": 2}, marks=pytest.mark.slow),
    ],
)
def test_nothing_large_is_ever_whole(sizes):
    """Initialisation runs in place: neither its results nor what it needs underway."""
    task = tiny.make_task(tiny.config({"model.depths": [1]}))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1.0), lambda step: 1.0)

    def create(rng):
        return create_state(task.init(rng), optimizer, ema=True)

    split, key = mesh(**sizes), jax.random.key(0)
    shapes = jax.eval_shape(create, key)
    places = tree_shardings(shapes, split)
    program = jax.jit(create, out_shardings=places).lower(key).compile()
    state = program(key)
    for leaf in jax.tree.leaves(state):
        if leaf.size >= sharding.MIN_FSDP_SIZE:
            assert all(2 * shard.data.size <= leaf.size for shard in leaf.addressable_shards)
    held = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(state))
    assert held == sharding.bytes_per_device(shapes, places) < total_bytes(shapes) / 2
    needed = program.memory_analysis()
    assert needed.output_size_in_bytes + needed.temp_size_in_bytes < total_bytes(shapes) * 0.75


def test_fsdp_splits_the_largest_model():
    """Parameters, moments and moving average of MaxViT-XL over eight devices."""
    config = maxvit_xlarge.get_config()
    task = ClassificationTask(config)
    optimizer = make_optimizer(parse_section(OptimizerConfig, config.optimizer, "optimizer"), float)
    state = jax.eval_shape(
        lambda rng: create_state(task.init(rng), optimizer, ema=True), jax.random.key(0)
    )
    local = sharding.bytes_per_device(state, tree_shardings(state, mesh(data=1, fsdp=8)))
    assert total_bytes(state.params) == 4 * 474_951_952
    assert total_bytes(state) > 4 * total_bytes(state.params)
    assert local <= total_bytes(state) / 7


def total_bytes(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def test_overview(state):
    split = mesh(fsdp=2, tensor=2)
    lines = sharding.overview(state.params, split).splitlines()
    places = tree_shardings(state.params, split)
    local = sharding.bytes_per_device(state.params, places) / 2**20
    assert lines[0].split() == [
        "parameters",
        "split",
        "over",
        "arrays",
        "MiB",
        "MiB",
        "per",
        "device",
    ]
    assert lines[-1].split() == [
        "all",
        str(len(jax.tree.leaves(state.params))),
        f"{total_bytes(state.params) / 2**20:.2f}",
        f"{local:.2f}",
    ]
    rows = [line.split("  ")[0] for line in lines[1:-1]]
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(state.params)
    ]
    # Those of multi-query attention have nothing here.
    rules = [pattern for pattern, _ in sharding.TENSOR_RULES]
    patterns = [rule for rule in rules if any(re.search(rule, name) for name in names)]
    assert len(patterns) == len(rules) - 2
    assert list(dict.fromkeys(rows))[: len(patterns)] == patterns
    assert any(re.match(r"mlp/shrink/kernel\$ +tensor fsdp +4 ", line) for line in lines)
    assert sum(int(line.split()[-3]) for line in lines[1:-1]) == len(jax.tree.leaves(state.params))


def test_overview_lists_what_fsdp_leaves_whole():
    shapes = {"odd": (131, 131), "small": (3, 3), "even": (128, 136)}
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    lines = sharding.overview(tree, mesh(data=1, fsdp=8)).splitlines()
    assert lines[-2:] == ["no side divides by fsdp=8, so these stay whole:", "  odd [131, 131]"]
    assert not any("even" in line or "small" in line for line in lines)


@pytest.fixture(scope="module")
def losses():
    """Losses of ten steps of a MaxViT block with mixup on each mesh, from the same weights and
    batches, and the collectives of the step."""
    config = tiny.config({"model.depths": [1]})
    task = tiny.make_task(config)
    optimizer = make_optimizer(
        OptimizerConfig(**config["optimizer"]),
        make_schedule(ScheduleConfig(warmup_steps=2, decay_steps=20), 1e-3),
    )
    variables = make_variables(task.model, np.zeros((1, tiny.SIDE, tiny.SIDE, 3), np.float32))
    batches = list(itertools.islice(train_batches(*task.train_data(), batch_size=8, seed=0), 10))
    train_step = make_train_step(task, optimizer, seed=0, ema_decay=0.9)  # traced once

    def run(mesh):
        state = create_state(variables, optimizer, ema=True)
        places = tree_shardings(state, mesh)
        step = jax.jit(
            train_step,
            in_shardings=(places, sharding.batch_sharding(mesh)),
            out_shardings=(places, sharding.replicated(mesh)),
            donate_argnums=0,
        )
        state, found = jax.device_put(state, places), []
        program = step.lower(state, put_batch(batches[0], mesh)).compile()
        for batch in batches:
            state, metrics = program(state, put_batch(batch, mesh))
            found.append(float(metrics["loss"]))
        kinds = collectives(program.as_text()).items()
        return found, {name: kind.count for name, kind in kinds}

    one = make_mesh(MeshConfig(), jax.devices()[:1])
    return [run(m) for m in (one, mesh(), mesh(data=1, fsdp=8), mesh(data=2, fsdp=2, tensor=2))]


def assert_close(found, expected):
    """Losses differ by the order of float32 sums: about 1e-7 at first, and Adam's division by
    the root of small second moments makes it grow step by step. A wrong mean, mask or random
    number shows in the first step, by 1e-3 and more."""
    assert len(expected) == 10 and np.ptp(expected) > 0.02
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_mesh_does_not_change_the_losses(losses):
    (one_device, _), *others = losses
    for found, _ in others:
        assert_close(found, one_device)


def test_collectives(losses):
    """Copies average gradients; FSDP gathers kernels besides, and activations stay where they are.

    Two gathers each are of the depthwise convolution's gradient, which on CPUs goes image by image.
    """
    alone, copies, fsdp, all_axes = (found for _, found in losses)
    assert not any(alone.values())
    assert copies["all-reduce"] >= 1 and copies["all-gather"] == 2
    assert fsdp["all-gather"] > copies["all-gather"] + 5
    assert all_axes["all-reduce"] > copies["all-reduce"]


def test_mesh_may_change_halfway(tmp_path):
    """With dropout, whose random numbers must not depend on where an example lies."""
    changes = {"train.log_every": 1, "eval.every_steps": 100, "task.mixup_alpha": 0.5}
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    final = tiny.quick(changes | {"train.num_steps": 10})
    tiny.run(final, whole, small=True)
    sizes = {"mesh.data": 4, "mesh.fsdp": 2}
    half = tiny.quick(changes | sizes | {"train.num_steps": 5})
    tiny.run(half, moved, devices=8, small=True)
    tiny.run(final, moved, devices=8, small=True)
    found, expected = (list(tiny.logged(path, "train/loss").values()) for path in (moved, whole))
    assert_close(found, expected)
    for metric in ("eval/loss", "eval/accuracy_top1", "eval/examples"):
        values = [tiny.logged(path, metric)[10] for path in (moved, whole)]
        np.testing.assert_allclose(*values, rtol=1e-4)
