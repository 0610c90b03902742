"""Which sizes share a program: what that costs, and that nothing becomes smaller."""

from collections import Counter

import numpy as np

from common.shared_sizes import PROGRAM, joined_sizes
from common.whole_images import PaddedSizes


def pixels(counts, joined=None):
    return sum(n * np.prod((joined or {}).get(size, size)) for size, n in counts.items())


def cost(counts, joined):
    return pixels(counts, joined) + PROGRAM * len(set(joined.values()))


def test_sizes_are_joined_where_that_costs_less_than_a_program():
    counts = {(64, 64): 1, (64, 128): 1, (128, 64): 1, (2048, 2048): 1, (2112, 2048): 40}
    joined = joined_sizes(counts)
    assert {joined[size] for size in [(64, 64), (64, 128), (128, 64)]} == {(128, 128)}
    # One large photo joins many of its size; many wouldn't be worth it.
    assert joined[2048, 2048] == (2112, 2048) == joined[2112, 2048]
    many = counts | {(2048, 2048): 40}
    assert joined_sizes(many)[2048, 2048] == (2048, 2048)
    assert joined_sizes({}) == {} and joined_sizes({(64, 64): 9}) == {(64, 64): (64, 64)}


def test_ten_sizes_cost_less_than_half_as_much_again_as_one():
    """On average over folders; as many photos of one size as large as these, in pixels."""
    exact, ratios = PaddedSizes(64), []
    for seed in range(20):
        photos = np.random.default_rng(seed).integers(250, 700, (10, 2))
        counts = Counter(exact(*map(int, photo)) for photo in photos)
        joined = joined_sizes(counts)
        for size, larger in joined.items():
            assert all(1 <= b / a <= 2 for a, b in zip(size, larger, strict=True))
        one_size = pixels(counts) + PROGRAM
        assert cost(counts, joined) <= cost(counts, {size: size for size in counts})
        ratios.append(cost(counts, joined) / one_size)
    assert np.mean(ratios) < 1.5


def test_of_thousands_of_sizes_the_largest_keep_theirs():
    counts = {(64 * i, 64 * j): 1 for i in range(1, 40) for j in range(1, 40)}
    joined = joined_sizes(counts)
    assert len(joined) == 39**2 and len(set(joined.values())) < 800
    assert joined[64 * 39, 64 * 39] == (64 * 39, 64 * 39)
