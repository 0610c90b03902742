"""Which sizes share a program: what that costs, and that nothing becomes smaller."""

from collections import Counter

import numpy as np
import pytest

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


# Seconds of a processor that a command, a program, and a million pixels took: S-2 on two cores, and
# the model of configs/maxim_photos.py.
MEASURED = {"S-2": (5.0, 17.0, 47.0), "small": (4.0, 4.2, 5.0)}


@pytest.mark.parametrize("model", MEASURED)
@pytest.mark.parametrize("sides", [(60, 250), (250, 700)])
def test_ten_sizes_cost_less_than_half_as_much_again_as_one(model, sides):
    """On average over folders, against ten photos of one size that have as many pixels."""
    start, program, million = MEASURED[model]
    exact, ratios = PaddedSizes(64), []
    for seed in range(20):
        photos = np.random.default_rng(seed).integers(*sides, (10, 2))
        counts = Counter(exact(*map(int, photo)) for photo in photos)
        joined = joined_sizes(counts)
        for size, larger in joined.items():
            grown = [b / a for a, b in zip(size, larger, strict=True)]
            assert min(grown) >= 1 and (max(grown) <= 2 or max(larger) <= 256)
        assert cost(counts, joined) <= cost(counts, {size: size for size in counts})
        programs, padded = len(set(joined.values())), pixels(counts, joined)
        one_size = start + program + million * pixels(counts) / 1e6
        ratios.append((start + program * programs + million * padded / 1e6) / one_size)
    assert np.mean(ratios) < 1.5 and max(ratios) < 1.75


def test_small_photos_share_one_program():
    """Whatever their shapes: the models learned from crops of 256."""
    counts = {(64, 64): 1, (256, 64): 1, (64, 256): 1, (192, 256): 2}
    assert set(joined_sizes(counts).values()) == {(256, 256)}
    assert joined_sizes({(64, 64): 1, (64, 320): 1}) == {(64, 64): (64, 64), (64, 320): (64, 320)}


def test_of_thousands_of_sizes_the_largest_keep_theirs():
    counts = {(64 * i, 64 * j): 1 for i in range(1, 40) for j in range(1, 40)}
    joined = joined_sizes(counts)
    assert len(joined) == 39**2 and len(set(joined.values())) < 800
    assert joined[64 * 39, 64 * 39] == (64 * 39, 64 * 39)
