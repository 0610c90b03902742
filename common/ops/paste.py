"""Masks of objects within their boxes, put into the image; on the host, one at a time.

A 12 megapixel photo with 100 objects has 1.2 GB of masks: only their part within the box is made,
and what is kept is run-length coded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from common.coco_tools import coco_tools


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> Iterator[np.ndarray]:
    """Yields the masks of an image's objects one after the other.

    Bilinear between the centres of the mask's cells and constant from the outermost ones to the
    box's sides, so that a full mask is the whole box: detectron2 and mmdetection let masks fall to
    zero there, which rounds off the corners. A pixel belongs to the box if its centre does.

    Args:
      masks: `[objects, rows, columns]`, probabilities within each box: floats in 0..1, or uint8
        in 0..255.
      boxes: `[objects, 4]`: x1, y1, x2, y2 in pixels of the image; they may reach beyond it.
      height: of the image.
      width: of the image.
      threshold: pixels at least as probable are inside.

    Yields:
      bool `[height, width]`, False outside the box.
    """
    for mask, box in zip(masks, boxes, strict=True):
        pasted = np.zeros((height, width), bool)
        top, left, piece = _piece(mask, box, height, width, threshold)
        pasted[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        yield pasted


def paste_rles(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> list[dict[str, Any]]:
    """Returns the masks of `paste_masks` as COCO's results have them, never one at full size.

    Returns:
      `size`, height and width, and `counts`, a compressed string, per object.

    Raises:
      UserError: pycocotools isn't installed.
    """
    compress = coco_tools().mask.frPyObjects
    rles = []
    for mask, box in zip(masks, boxes, strict=True):
        counts = _runs(*_piece(mask, box, height, width, threshold), height, width)
        rle = compress({"counts": counts, "size": [height, width]}, height, width)
        rles.append({"size": [height, width], "counts": rle["counts"].decode()})
    return rles


def _piece(
    mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float
) -> tuple[int, int, np.ndarray]:
    """Top and left of the pixels within box and image, and which of them are inside the mask."""
    x1, y1, x2, y2 = map(float, box)
    top, *rows = _neighbours(y1, y2, height, mask.shape[0])
    left, *columns = _neighbours(x1, x2, width, mask.shape[1])
    if mask.dtype == np.uint8:
        threshold *= 255
    # Gathers: products of such small matrices would mostly wait for the threads of BLAS.
    stretched = _blend(mask.astype(np.float32), *rows).T
    pixels = _blend(stretched, *columns).T
    return top, left, pixels >= threshold


def _blend(
    values: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Mixes rows of values `[cells, ...]` with rows after them, which have a share."""
    share = share[:, None]
    return values[before] * (1 - share) + values[after] * share


def _neighbours(
    low: float, high: float, side: int, cells: int
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The first pixel of a box along an axis; per pixel the cells around it, the later's share."""
    first, end = (int(np.clip(np.ceil(x - 0.5), 0, side)) for x in (low, high))
    centres = np.arange(first, end) + 0.5
    places = (centres - low) / max(high - low, 1e-6) * cells - 0.5
    places = np.clip(places, 0, cells - 1)
    before = places.astype(np.int64)
    after = np.minimum(before + 1, cells - 1)
    return first, before, after, (places - before).astype(np.float32)


def _runs(top: int, left: int, piece: np.ndarray, height: int, width: int) -> list[int]:
    """Lengths of runs in the image, column by column, the first of pixels outside."""
    columns = np.pad(piece.T.astype(np.int8), ((0, 0), (1, 1)))
    column, row = np.nonzero(np.diff(columns))  # starts and ends in turn
    bounds = (left + column) * height + top + row
    # A run that goes on at the top of the next column is one.
    joined = np.flatnonzero(bounds[1:-1:2] == bounds[2::2]) * 2 + 1
    bounds = np.delete(bounds, [*joined, *(joined + 1)])
    if not bounds.size or bounds[-1] < height * width:
        bounds = [*bounds, height * width]
    return np.diff([0, *bounds]).tolist()
