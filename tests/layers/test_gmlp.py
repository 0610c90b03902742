"""Gated MLPs and cross-gating: what mixes with what, and equality with the textbook formulas."""

import functools

import jax
import numpy as np
import pytest
from flax import linen as nn

from common.errors import UserError
from common.layers.cross_gating import CrossGating, SpatialGate
from common.layers.gmlp import (
    GatedMLP,
    MultiAxisGatedMLP,
    SpatialDense,
    gelu,
    mixing_partition,
    mixing_unpartition,
)
from common.layers.mlp import Dense, PartedDense
from tests.golden.weights import make_variables

SPATIAL = {1: (16,), 2: (8, 12), 3: (4, 8, 4)}
SIDES = {1: (4,), 2: (4, 2), 3: (2, 4, 2)}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def program(module, **options):
    """The module compiled, which every operation would be by itself."""
    return jax.jit(functools.partial(module.apply, **options))


def test_gelu_is_the_tanh_approximation_with_finite_gradients():
    x = np.linspace(-60, 60, 4001, dtype=np.float32)
    exact = x.astype(np.float64)
    tanh = np.tanh(np.sqrt(2 / np.pi) * (exact + 0.044715 * exact**3))
    slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * exact**2)
    np.testing.assert_allclose(gelu(x), exact * (1 + tanh) / 2, rtol=1e-6, atol=5e-6)
    expected = (1 + tanh) / 2 + exact * (1 - tanh**2) * slope / 2
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(gelu)))(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["block", "grid"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_partition_has_an_inverse(kind, axes):
    x = normal(2, *SPATIAL[axes], 3)

    @jax.jit
    def there_and_back(x):
        parts = mixing_partition(x, kind, SIDES[axes])
        return parts, mixing_unpartition(parts, kind, SIDES[axes], SPATIAL[axes])

    parts, back = there_and_back(x)
    assert parts.shape == (2, np.prod(SIDES[axes]), np.prod(SPATIAL[axes]) // parts.shape[1], 3)
    np.testing.assert_array_equal(back, x)


def test_block_positions_are_neighbours_and_grid_positions_a_cell_apart():
    index = np.arange(8 * 12).reshape(1, 8, 12, 1)
    partition = jax.jit(mixing_partition, static_argnums=(1, 2))
    row, column = np.divmod(partition(index, "block", (4, 2)), 12)
    assert (np.ptp(row, axis=1) == 3).all() and (np.ptp(column, axis=1) == 1).all()
    row, column = np.divmod(partition(index, "grid", (4, 2)), 12)
    cell = (8 // 4, 12 // 2)
    assert (np.ptp(row // cell[0], axis=1) == 3).all() and (
        np.ptp(row % cell[0], axis=1) == 0
    ).all()
    assert (np.ptp(column % cell[1], axis=1) == 0).all()
    # Row-major, as the release's windows: the second position is the next column's.
    assert column[0, 1, 0, 0] - column[0, 0, 0, 0] == cell[1]


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_a_side_that_does_not_fit_is_named(kind):
    with pytest.raises(UserError, match=r"side 10 of .* nearest valid: 8 or 12"):
        mixing_partition(normal(1, 10, 8, 2), kind, (4, 4))


def test_parted_dense_is_dense_on_a_concatenation_split():
    a, b = normal(2, 5, 3), normal(2, 5, 4, seed=1)
    parted, whole = PartedDense((6, 2)), Dense(8)
    variables = make_variables(parted, a, b)
    outputs = program(parted)(variables, a, b)
    expected = program(whole)(variables, np.concatenate([a, b], -1))
    np.testing.assert_allclose(np.concatenate(outputs, -1), expected, atol=1e-6)


def test_spatial_dense_mixes_positions_alike_in_every_group_and_channel():
    x = normal(2, 5, 3, 4)
    dense = SpatialDense()
    variables = make_variables(dense, x)
    kernel, bias = (variables["params"][name] for name in ("kernel", "bias"))
    expected = np.einsum("npgc,pq->nqgc", x, kernel) + np.asarray(bias)[None, :, None, None]
    np.testing.assert_allclose(program(dense)(variables, x), expected, atol=1e-5)


def test_gated_mlp_formula():
    x = normal(2, 4, 3, 6)
    variables = make_variables(GatedMLP(), x, train=False)
    p = variables["params"]

    def norm(x, p):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p["scale"] + p["bias"]

    y = norm(np.asarray(x), p["norm"]) @ p["in_proj"]["kernel"] + p["in_proj"]["bias"]
    u, v = np.split(np.asarray(jax.jit(nn.gelu)(y)), 2, axis=-1)
    spatial = p["gating"]["spatial"]
    mixed = np.einsum("npgc,pq->nqgc", norm(v, p["gating"]["norm"]), spatial["kernel"])
    gate = mixed + np.asarray(spatial["bias"])[:, None, None] + 1
    expected = x + (u * gate) @ p["out_proj"]["kernel"] + p["out_proj"]["bias"]
    found = program(GatedMLP(), train=False)(variables, x)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_multi_axis_block_reaches_block_and_grid_and_nothing_else(axes):
    spatial, sides = SPATIAL[axes], SIDES[axes]
    block = MultiAxisGatedMLP(block=sides, grid=sides)
    x = normal(1, *spatial, 4)
    variables = make_variables(block, x, train=False)
    center = tuple(side // 2 for side in spatial)

    def reached(at):
        """Output positions that change with one channel of the input at one."""
        moved, run = x.copy(), program(block, train=False)
        moved[(0, *at, 0)] += 1
        return np.abs(run(variables, moved) - run(variables, x))[0].max(-1) > 0

    where = np.indices(spatial)
    same_block, same_cell = (
        np.logical_and.reduce(
            [f(w, c, s, n) for w, c, s, n in zip(where, center, sides, spatial, strict=True)]
        )
        for f in (
            lambda w, c, s, n: w // s == c // s,
            lambda w, c, s, n: w % (n // s) == c % (n // s),
        )
    )
    np.testing.assert_array_equal(reached(center), same_block | same_cell)


def test_weights_fit_maps_of_any_size():
    block = MultiAxisGatedMLP(block=(4, 4), grid=(2, 2))
    variables = make_variables(block, normal(1, 8, 8, 4), train=False)
    apply = functools.partial(block.apply, train=False)
    assert jax.eval_shape(apply, variables, normal(2, 12, 20, 4)).shape == (2, 12, 20, 4)


def test_dropout_only_in_training():
    block = MultiAxisGatedMLP(block=(2, 2), grid=(2, 2), dropout_rate=0.5)
    x = normal(1, 4, 4, 4)
    variables = make_variables(block, x, train=False)
    still = program(block, train=False)(variables, x)
    trained = program(block, train=True)(variables, x, rngs={"dropout": jax.random.key(0)})
    assert np.abs(trained - still).max() > 0.01


def test_gates_start_open():
    """With zero kernels over positions a gate is what it was initialised to: ones projected."""
    gate = SpatialGate(block=(2, 2), grid=(2, 2))
    init = jax.jit(functools.partial(gate.init, train=False))
    variables = init(jax.random.key(0), normal(1, 4, 4, 4))
    for kind in ("grid", "block"):
        assert (variables["params"][kind]["bias"] == 1).all()


@pytest.mark.parametrize("upsample", [False, True])
def test_cross_gating_returns_y_and_x_that_contains_it(upsample):
    sides = {"block": (2, 2), "grid": (2, 2)}
    module = CrossGating(6, **sides, upsample_y=upsample)
    x, y = (
        normal(1, 8, 8, 5),
        normal(1, 4, 4, 3, seed=1) if upsample else normal(1, 8, 8, 3, seed=1),
    )
    variables, run = make_variables(module, [x], y, train=False), program(module, train=False)
    out_x, out_y = run(variables, [x], y)
    assert out_x.shape == out_y.shape == (1, 8, 8, 6)
    # A bias of y's last projection moves both by the same.
    moved = jax.tree.map(np.copy, variables)
    moved["params"]["out_proj_y"]["bias"] += 1.0
    for before, after in zip((out_x, out_y), run(moved, [x], y), strict=True):
        np.testing.assert_allclose(after - before, np.ones_like(before), atol=1e-4)
