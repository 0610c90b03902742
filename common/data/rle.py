"""Masks as COCO's JSON has them: run lengths, plain or compressed to a string, and outlines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import UserError

Segmentation = list[list[float]] | dict[str, Any]


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

    Args:
      rle: `counts`, a list or a compressed string, and `size`.

    Raises:
      UserError: the runs don't make up the mask's size, or a string is none of COCO's.
    """
    counts, (height, width) = run_lengths(rle["counts"]), rle["size"]
    if counts.min(initial=0) < 0 or counts.sum() != height * width:
        raise UserError(f"runs of {counts.sum()} pixels are no mask of {width}x{height}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def run_lengths(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Returns the lengths of runs, int64, of a list or of COCO's compressed string.

    In a string each length has groups of five bits, the lowest first, in characters from "0" on;
    the sixth bit says that more follow, the highest bit of the last one is the sign. From the
    fourth length on it is the difference from the length two before.

    Raises:
      UserError: the string has other characters, or breaks off.
    """
    if not isinstance(counts, str | bytes):
        return np.asarray(counts, np.int64)
    data = counts.encode(errors="replace") if isinstance(counts, str) else counts
    groups = np.frombuffer(data, np.uint8).astype(np.int64) - ord("0")
    if groups.size and not (groups.min() >= 0 and groups.max() < 64):
        raise UserError("a compressed string of run lengths has characters that none has")
    more = (groups & 32) > 0
    if more.size and more[-1]:
        raise UserError("a compressed string of run lengths breaks off")
    last = np.flatnonzero(~more)
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)[: last.size]
    place = np.arange(groups.size) - np.repeat(first, last - first + 1)
    if place.max(initial=0) > 11:
        raise UserError("a compressed string of run lengths has a number of more than 60 bits")
    values = np.zeros(last.size, np.int64)
    np.add.at(values, np.repeat(np.arange(last.size), last - first + 1), (groups & 31) << 5 * place)
    negative = (groups[last] & 16) > 0
    values[negative] -= np.int64(1) << 5 * (place[last][negative] + 1)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def segmentation_mask(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """Returns the mask of an object, bool `[height, width]`.

    Args:
      segmentation: outlines, each `[x, y, x, y, ...]`, of which the mask has the union, as
        pycocotools draws them; or run lengths.
      height: of the image.
      width: of the image.

    Raises:
      UserError: run lengths that are no mask, or outlines without pycocotools.
    """
    if isinstance(segmentation, Mapping):
        return decode_rle(segmentation)
    coco = coco_masks()
    return decode_rle(coco.merge(coco.frPyObjects(segmentation, height, width)))


def coco_masks() -> Any:
    """Returns the module `pycocotools.mask`.

    Raises:
      UserError: there is none.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            "outlines need pycocotools: pip install 'multi-axis-jax[detection]'"
        ) from error
    return mask


def bounding_box(mask: np.ndarray) -> Sequence[int]:
    """Returns left, top, right, bottom of a mask that has pixels; right and bottom are outside."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
