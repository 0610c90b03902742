"""Masks as COCO's JSON has them, run-length coded and uncompressed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import UserError


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Returns lengths of runs, column by column, the first of pixels outside (it may be 0).

    Args:
      mask: bool `[height, width]`.

    Returns:
      `counts`, and `size`: height and width.
    """
    flat = np.asarray(mask, bool).ravel("F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    bounds = [0, *changes.tolist(), flat.size]
    counts = np.diff(bounds).tolist()
    return {"counts": counts, "size": list(mask.shape)}


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """Returns the mask that `encode_rle` was given, bool `[height, width]`.

    Raises:
      UserError: the runs don't make up the mask's size, or are compressed to a string.
    """
    counts, (height, width) = rle["counts"], rle["size"]
    if isinstance(counts, str | bytes):
        raise UserError("run lengths are a compressed string; lists of numbers are read")
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise UserError(f"runs of {sum(counts)} pixels are no mask of {width}x{height}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.asarray(counts, np.int64)).reshape(width, height).T


def bounding_box(mask: np.ndarray) -> Sequence[int]:
    """Returns left, top, right, bottom of a mask that has pixels; right and bottom are outside."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
