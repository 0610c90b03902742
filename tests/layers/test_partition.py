"""Partitions in one, two and three spatial axes."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.layers import partition


def random_case(seed: int, axes: int):
    """A random map, and a window that divides it."""
    rng = np.random.default_rng(seed)
    window = tuple(int(w) for w in rng.integers(1, 5, axes))
    spatial = tuple(int(w * n) for w, n in zip(window, rng.integers(1, 5, axes), strict=True))
    x = rng.standard_normal((2, *spatial, 3))  # NumPy: nothing to compile
    return x, window, spatial


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_inverses_are_exact(axes, seed):
    x, window, spatial = random_case(seed, axes)
    blocks = partition.block_partition(x, window)
    assert blocks.shape[2] == np.prod(window)
    np.testing.assert_array_equal(partition.block_unpartition(blocks, window, spatial), x)
    grids = partition.grid_partition(x, window)
    assert grids.shape[2] == np.prod(window)
    np.testing.assert_array_equal(partition.grid_unpartition(grids, window, spatial), x)
    for axis in range(axes):
        lines = partition.axial_partition(x, axis)
        assert lines.shape[2] == spatial[axis]
        np.testing.assert_array_equal(partition.axial_unpartition(lines, axis, spatial), x)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_grid_is_block_with_windows_and_positions_swapped(axes, seed):
    x, grid, spatial = random_case(seed, axes)
    window = tuple(side // g for side, g in zip(spatial, grid, strict=True))
    blocks = partition.block_partition(x, window)
    np.testing.assert_array_equal(partition.grid_partition(x, grid), blocks.swapaxes(1, 2))


def test_positions_are_the_papers():
    height, width, size = 6, 8, 2
    pixels = np.arange(height * width).reshape(1, height, width, 1)
    blocks = partition.block_partition(pixels, (size, size))[0, :, :, 0]
    grids = partition.grid_partition(pixels, (size, size))[0, :, :, 0]
    u, v, i, j = 1, 2, 1, 0
    position = i * size + j
    block_group = u * (width // size) + v
    grid_group = u * (width // size) + v
    assert blocks[block_group, position] == (u * size + i) * width + v * size + j
    assert grids[grid_group, position] == (i * height // size + u) * width + j * width // size + v


def test_a_side_that_does_not_divide_names_the_nearest():
    with pytest.raises(UserError, match=r"side 10 .* multiple .* 4; nearest valid: 8 or 12"):
        partition.block_partition(jnp.zeros((1, 8, 10, 1)), (4, 4))
    with pytest.raises(UserError, match="2 window sides"):
        partition.grid_partition(jnp.zeros((1, 8, 1)), (4, 4))


def test_padding_marks_what_is_real():
    padded, real = partition.pad_to_multiple(jnp.ones((2, 5, 8, 1)), (4, 4))
    assert padded.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(real[0], padded[0].astype(bool))
    assert partition.pad_to_multiple(jnp.ones((2, 4, 8, 1)), (4, 4))[1] is None


def test_partitions_are_jittable():
    x = jnp.ones((1, 8, 8, 2))
    shape = jax.eval_shape(lambda x: partition.grid_partition(x, (4, 4)), x).shape
    assert shape == (1, 4, 16, 2)
