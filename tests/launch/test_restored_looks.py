"""Steps at the borders of tiles, as the tool that looks for them counts."""

import numpy as np
import pytest

from launch.tools.restored_looks import TILE, _edges, steps
from maxim_jax.inference import _tiling


def test_a_step_is_seen_where_it_is():
    image = np.zeros((3, 10))
    image[:, 4:] = 6.0
    assert steps(image, [4]) == (6.0, 0.0)
    assert steps(image, [2, 4]) == (3.0, 0.0) and steps(image, [5]) == (0.0, pytest.approx(0.75))


@pytest.mark.parametrize(("width", "left"), [(640, 0), (451, 30), (384, 0)])
@pytest.mark.parametrize("overlap", [0, 32])
def test_edges_are_those_of_the_tiles(width, left, overlap):
    starts, _ = _tiling(-(-width // 64) * 64, TILE, overlap)
    inside = {int(x) - left for start in starts for x in (start, start + TILE)}
    assert _edges(width, overlap) == sorted(x for x in inside if 0 < x < width)
