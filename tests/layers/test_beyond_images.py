"""Multi-axis attention on sequences and volumes: cost linear in positions, reach to all of them."""

import contextlib
import io
import itertools
import json
import math
import pathlib

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import Array

from common.layers.attention import MultiAxisAttention, WindowAttention

NOTEBOOK = pathlib.Path(__file__).parents[2] / "notebooks" / "beyond_images.ipynb"
CHANNELS = 8


class BlockAndGrid(nn.Module):
    """Both attentions, as in MaxViT, on any number of axes."""

    window: tuple[int, ...]
    grid: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = MultiAxisAttention("block", self.window, head_dim=CHANNELS, name="block")(
            x, train=False
        )
        return MultiAxisAttention("grid", self.grid, head_dim=CHANNELS, name="grid")(x, train=False)


class FullAttention(nn.Module):
    """Every position over all others."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        positions = math.prod(x.shape[1:-1])
        attention = WindowAttention((positions,), head_dim=CHANNELS, relative_bias=False)
        return attention(x.reshape(x.shape[0], 1, positions, CHANNELS))


def flops(module, spatial):
    """What XLA counts for one example."""
    x = jax.ShapeDtypeStruct((1, *spatial, CHANNELS), np.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.jit(module.apply).lower(variables, x).compile().cost_analysis()["flops"]


def example(module, spatial, **kwargs):
    """A random input and variables away from zero."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, *spatial, CHANNELS)).astype(np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, **kwargs))
    return x, jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), shapes)


def receptive_field(module, spatial, position, **kwargs):
    """Positions, as booleans, that an output position depends on."""
    x, variables = example(module, spatial, **kwargs)

    @jax.jit
    @jax.grad
    def gradient(x):
        return jax.numpy.sin(module.apply(variables, x, **kwargs)[0][position]).sum()

    return np.abs(gradient(x)[0]).max(-1) > 0


SIZES = {
    "sequence": ((32,), (64,), [(256,), (512,), (1024,), (2048,)]),
    "volume": ((2, 4, 4), (4, 2, 2), [(4, 8, 8), (8, 8, 8), (16, 8, 8)]),
}


@pytest.mark.parametrize("kind", SIZES)
def test_cost_grows_linearly_with_positions(kind):
    window, grid, sizes = SIZES[kind]
    costs = [flops(BlockAndGrid(window, grid), spatial) for spatial in sizes]
    for shorter, longer in itertools.pairwise(costs):
        assert longer / shorter == pytest.approx(2, rel=0.01)


def test_cost_of_full_attention_grows_quadratically():
    assert flops(FullAttention(), (2048,)) / flops(FullAttention(), (1024,)) > 3.8


# Window, grid, and a map that just fits: sides are products of both.
REACH = [((4,), (8,), (32,)), ((2, 2, 3), (2, 3, 2), (4, 6, 6))]


@pytest.mark.parametrize(("window", "grid", "spatial"), REACH)
def test_block_then_grid_reaches_all_positions_and_neither_does_alone(window, grid, spatial):
    position = tuple(side - 2 for side in spatial)
    both = receptive_field(BlockAndGrid(window, grid), spatial, position)
    assert both.all()

    coordinates = np.indices(spatial)
    alone = {"block": np.ones(spatial, bool), "grid": np.ones(spatial, bool)}
    for axis, at in zip(
        coordinates, zip(position, window, grid, spatial, strict=True), strict=True
    ):
        p, w, g, side = at
        alone["block"] &= axis // w == p // w
        alone["grid"] &= axis % (side // g) == p % (side // g)
    for kind, size in (("block", window), ("grid", grid)):
        module = MultiAxisAttention(kind, size, head_dim=CHANNELS)
        seen = receptive_field(module, spatial, position, train=False)
        np.testing.assert_array_equal(seen, alone[kind])
        assert not seen.all()


def test_reach_ends_at_window_times_grid():
    """On twice that length every second window stays out of sight."""
    seen = receptive_field(BlockAndGrid((4,), (8,)), (64,), (5,))
    np.testing.assert_array_equal(seen, np.arange(64) // 4 % 2 == 1)


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_an_axis_of_one_position_changes_nothing(kind):
    """A sequence is a video of one frame with one row."""
    x, variables = example(MultiAxisAttention(kind, (4,), head_dim=4), (12,), train=False)
    table = variables["params"]["attention"]["relative_bias"]["table"]
    outputs = []
    for ones in ((), (1, 1)):
        variables["params"]["attention"]["relative_bias"]["table"] = table.reshape(2, *ones, 7)
        module = MultiAxisAttention(kind, (*ones, 4), head_dim=4)
        apply = jax.jit(module.apply, static_argnames="train")
        y = apply(variables, x.reshape(1, *ones, 12, CHANNELS), train=False)
        outputs.append(np.asarray(y).reshape(x.shape))
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-5)


def test_any_length_with_padding():
    """A sequence of 13 in windows of 4: the last position is alone, and sees itself."""
    module = MultiAxisAttention("block", (4,), head_dim=4, pad_inputs=True)
    seen = receptive_field(module, (13,), (12,), train=False)
    np.testing.assert_array_equal(seen, np.arange(13) == 12)


@pytest.mark.slow
def test_notebook_runs_from_top_to_bottom():
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    namespace, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in code:
            exec("".join(cell["source"]), namespace)
    assert "2048 of 2048" in printed.getvalue() and "2.00" in printed.getvalue()
