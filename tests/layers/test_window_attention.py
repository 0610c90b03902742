"""The kernels of window attention, interpreted, against their definition; and where they run."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import maxvit_jax
from common.kernels import each_device, window_attention_gpu
from common.kernels import window_attention as kernels
from common.kernels.choose import preferring
from common.layers.attention import WindowAttention
from common.layers.partition import PARTITIONS
from common.train.sharding import MeshConfig, make_mesh
from maxvit_jax.models.maxvit import MaxViT
from tests.golden.cases import full_jit, load_case
from tests.golden.weights import make_variables

MICRO = load_case("tf_micro")


def derivatives(attend, qkv, bias, gradient):
    """The value, its gradients, and its derivative in forward mode."""
    y, vjp = jax.vjp(attend, qkv, bias)
    return y, vjp(gradient), jax.jvp(attend, (qkv, bias), (jnp.cos(qkv), jnp.sin(bias)))[1]


@pytest.mark.parametrize(
    ("platform", "batch", "head_dim"),
    # An odd number of groups, too; programs with several, of which the last one has fewer.
    [("tpu", 16, 4), ("cuda", 3, 16)],
)
@pytest.mark.parametrize(
    ("kind", "spatial", "window", "dtype", "masked", "limit"),
    [
        ("block", (6, 5), (3, 5), "float32", True, 1e-6),  # 15 positions, of which some are padding
        ("grid", (9, 4), (3, 1), "bfloat16", True, 2**-8),
        ("grid", (4, 4, 2), (2, 2, 2), "float32", False, 1e-6),  # 8 positions, nothing to pad
        ("grid", (7, 7), (7, 7), "bfloat16", False, 2**-8),
    ],
)
def test_kernel_is_its_definition(
    platform, batch, head_dim, kind, spatial, window, dtype, masked, limit, monkeypatch
):
    monkeypatch.setattr(window_attention_gpu, "PROGRAMS", 6)
    rng = np.random.default_rng(0)
    positions = np.prod(window)
    groups = np.prod(spatial) // positions
    qkv = jnp.asarray(rng.standard_normal((batch, *spatial, 2, 3, head_dim)), dtype)
    gradient = jnp.asarray(rng.standard_normal((batch, *spatial, 2, head_dim)), dtype)
    bias = jnp.asarray(rng.standard_normal((2, positions, positions)), jnp.float32)
    seen = jnp.ones((1, positions), bool)
    if masked:
        seen = jnp.asarray(rng.random((groups, positions)) < 0.7).at[:, 0].set(True)
    place = {"kind": kind, "window": window}

    @jax.jit
    def both(*args):
        return (
            derivatives(lambda q, b: kernels._attend(q, b, seen, kind, window, platform), *args),
            derivatives(lambda q, b: kernels._definition(q, b, seen, **place)[0], *args),
        )

    def close(got, expected):
        assert got.dtype == expected.dtype
        got, expected = (np.asarray(a, np.float32) for a in (got, expected))
        assert np.abs(got - expected).max() <= 4 * limit * np.abs(expected).max()

    program = both.trace(qkv, bias, gradient)
    assert str(program.jaxpr).count("kernel_on_each_device") > 2
    jax.tree.map(close, *both(qkv, bias, gradient))


def test_every_implementation_pads_and_projects_alike():
    """A side that is no multiple, without a bias, through the layer's own parameters."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3, 4, 32)), jnp.float32)
    layer = WindowAttention((2, 2), head_dim=16, relative_bias=False)
    variables = make_variables(layer, x, kind="block", pad_inputs=True, method="on_map")
    qkv, out, _ = layer.apply(variables, 32, method="_parts")

    @partial(jax.jit, static_argnums=0)
    def run(implementation):
        place = {"kind": "grid", "window": (2, 2), "pad_inputs": True}
        return kernels.window_attention(x, qkv, out, implementation=implementation, **place)

    for implementation in ("pallas", "triton"):
        np.testing.assert_allclose(run(implementation), run("reference"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("platform", "tensor"), [("tpu", 1), ("tpu", 2), ("cuda", 2)])
def test_kernel_runs_on_every_device(platform, tensor):
    """Parts of examples and heads, by a mesh that only the program's shardings name."""
    mesh = make_mesh(MeshConfig(data=2, tensor=tensor), jax.devices()[: 2 * tensor])
    rng = np.random.default_rng(0)
    qkv = jnp.asarray(rng.standard_normal((16, 4, 2, 3, 16)), jnp.float32)
    bias = jnp.asarray(rng.standard_normal((2, 2, 2)), jnp.float32)
    gradient = jnp.asarray(rng.standard_normal((16, 4, 2, 16)), jnp.float32)
    seen = jnp.ones((1, 2), bool)

    def gradients(attend, qkv, bias, gradient):
        return jax.vjp(attend, qkv, bias)[1](gradient)

    attend = partial(kernels._attend, seen=seen, kind="block", window=(2,), platform=platform)
    places = tuple(NamedSharding(mesh, spec) for spec in (P("data"), P(), P("data")))
    program = jax.jit(partial(gradients, attend), in_shardings=places)
    assert "manual_computation" in program.lower(qkv, bias, gradient).as_text()
    define = partial(kernels._definition, seen=seen, kind="block", window=(2,))
    expected = jax.jit(partial(gradients, lambda *args: define(*args)[0]))(qkv, bias, gradient)
    got = program(*map(jax.device_put, (qkv, bias, gradient), places))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), got, expected)


@pytest.mark.parametrize(
    ("images", "chip", "kernel"),
    [(8, "TPU v5 lite", True), (3, "TPU v5 lite", False), (8, "TPU v3", False)],
)
def test_tpus_get_the_kernel_where_there_is_one(images, chip, kernel, monkeypatch):
    """Lowered for one, which needs none; 49 positions in Mosaic's own terms."""
    monkeypatch.setattr(each_device, "_chip", lambda context: chip)
    layer = WindowAttention((7, 7))
    x = jax.ShapeDtypeStruct((images, 14, 7, 64), jnp.bfloat16)
    settings = {"kind": "grid", "method": "on_map"}
    variables = jax.eval_shape(partial(layer.init, **settings), jax.random.key(0), x)

    def loss(variables, x):
        return jnp.sum(layer.apply(variables, x, **settings).astype(jnp.float32))

    program = jax.jit(jax.grad(loss)).trace(variables, x)
    text = program.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == (2 if kernel else 0)
    assert "custom_call" not in program.lower(lowering_platforms=("cpu",)).as_text()


def test_gpus_get_their_kernel_only_if_asked_for_it():
    """Lowered for one, which needs none."""
    layer = WindowAttention((7, 7))
    x = jax.ShapeDtypeStruct((3, 14, 7, 64), jnp.bfloat16)
    settings = {"kind": "grid", "method": "on_map"}
    variables = jax.eval_shape(partial(layer.init, **settings), jax.random.key(0), x)

    def loss(variables, x):
        return jnp.sum(layer.apply(variables, x, **settings).astype(jnp.float32))

    def count():
        program = jax.jit(jax.grad(loss)).trace(variables, x)
        return program.lower(lowering_platforms=("cuda",)).as_text().count("xla.gpu.triton")

    assert count() == 0
    with preferring("triton"):
        assert count() == 2


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_programs_for_gpus_read_every_position_once(kind, monkeypatch):
    """Nothing beyond the map, also where the last program has fewer groups than the others."""
    monkeypatch.setattr(window_attention_gpu, "PROGRAMS", 4)
    qkv = jax.ShapeDtypeStruct((5, 6, 4, 1, 3, 16), jnp.bfloat16)
    seen = jax.ShapeDtypeStruct((1, 6), bool)
    call = window_attention_gpu._Call(qkv, seen, kind, (3, 2))
    assert (call.parts, call.per_part) == (4, 5)
    split, _ = PARTITIONS[kind]
    expected = np.array(split(jnp.arange(5 * 24).reshape(5, 6, 4, 1), (3, 2))).reshape(20, 6)
    for number in range(20):
        group, places, there = call.group(jnp.int32(number))
        assert group == number % 4
        np.testing.assert_array_equal(places[there], expected[number])
    assert not call.group(jnp.int32(20))[2].any()


@pytest.mark.parametrize(
    ("window", "head_dim", "there"),
    [((8, 8), 32, True), ((9, 8), 32, False), ((7, 7), 24, False), ((7, 7), 8, False)],
)
def test_where_there_is_a_kernel_for_gpus(window, head_dim, there):
    qkv = jax.ShapeDtypeStruct((1, *window, 3, 2, head_dim), jnp.bfloat16)
    seen = jax.ShapeDtypeStruct((1, np.prod(window)), bool)
    place = {"kind": "block", "window": window, "chip": None}
    assert (window_attention_gpu.forward(qkv, None, seen, **place) is not None) is there
    assert (window_attention_gpu.backward(qkv, None, seen, None, **place) is not None) is there


@pytest.mark.slow  # all of a model interpreted, and compiled with all optimizations
def test_golden_with_the_kernel(monkeypatch, tmp_path):
    monkeypatch.setitem(kernels.FASTEST, "cpu", "pallas")
    path = MICRO.write_checkpoint(tmp_path / "model.npz", "npz")
    model, variables = maxvit_jax.load_pretrained(MaxViT(**MICRO.fields()), path)
    images = MICRO.images()
    whole_blocks = np.tile(images, (8 // len(images), 1, 1, 1))
    run = full_jit(lambda v, x: model.apply(v, x, method="features"))
    maps = {name: y[: len(images)] for name, y in run(variables, whole_blocks).items()}
    errors = MICRO.compare(maps)
    assert "stage_2" in errors and max(errors.values()) < 1, errors
