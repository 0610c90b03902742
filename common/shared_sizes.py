"""Which sizes of images share a program: compiling one costs as much as computing many pixels."""

import math
from collections.abc import Mapping

import numpy as np

Size = tuple[int, int]

# Compiling takes the processor time of so many pixels: 350 thousand for MAXIM S-2, which does a lot
# with each, and 820 thousand for the small model of configs/maxim_photos.py, on CPU cores which
# compile and restore at once.
PROGRAM = 500_000
_GROWTH = 2  # of a side, at most: the rest is padding
_SMALL = 256  # or up to this, however small it is: the paper's models learned from crops of 256
_MOST = 1000  # sizes that are joined; the larger ones, if there are more, are worth a program each


def joined_sizes(counts: Mapping[Size, int]) -> dict[Size, Size]:
    """Joins sizes, the cheapest two first, while the pixels that this adds cost less than the
    program that it saves.

    Args:
      counts: how many images there are of each height and width.

    Returns:
      For every size the one that its images are to be padded to: as high and wide, or up to twice,
      or both sides up to 256.
    """
    sizes = sorted(counts, key=lambda size: (math.prod(size), size))
    taking_part = sizes[:_MOST]
    shared = np.array(taking_part, np.int64).reshape(-1, 2)
    smallest = shared.copy()  # sides in each group
    images = np.array([counts[size] for size in taking_part], np.int64)
    group = np.arange(len(taking_part))

    def added(i: int) -> np.ndarray:
        """Pixels that joining group i with each of the others adds; infinite where it can't be."""
        joint = np.maximum(shared[i], shared)
        growth = (joint / np.minimum(smallest[i], smallest)).max(1)
        others = (images > 0) & (np.arange(len(shared)) != i)
        area, own = joint.prod(1), shared.prod(1)
        costs = images[i] * (area - own[i]) + images * (area - own)
        allowed = (growth <= _GROWTH) | (joint.max(1) <= _SMALL)
        return np.where(others & allowed, costs, np.inf)

    costs = np.array([added(i) for i in range(len(shared))])
    while costs.size and costs.min() < PROGRAM:
        i, j = divmod(int(costs.argmin()), len(shared))
        shared[i] = np.maximum(shared[i], shared[j])
        smallest[i] = np.minimum(smallest[i], smallest[j])
        images[i] += images[j]
        images[j], group[group == j] = 0, i
        costs[j], costs[:, j] = np.inf, np.inf
        costs[i] = costs[:, i] = added(i)
    found = [(int(height), int(width)) for height, width in shared[group]]
    return {size: size for size in sizes} | dict(zip(taking_part, found, strict=True))
