"""Coins on a dark ground: scikit-image's photograph with outlines of our own.

24 coins in four rows, annotated in `coins.json` (COCO's format; `docs/annotate_coins.py` made it).
The photo is cut between the rows: three strips are for training, one is held out. Far too little
to learn from for use, but a real photo that every installation has.
"""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.images import decode
from common.data.label_maps import LabelMapArrays
from common.data.pairs import photos_source
from common.data.rle import bounding_box, decode_rle
from common.errors import UserError, did_you_mean

ANNOTATION = Path(__file__).parent / "coins.json"
CLASS_NAMES = ("background", "coin")
PALETTE = np.array([[0, 0, 0], [255, 190, 0]], np.uint8)
_PER_ROW = 6
_ROWS = {"train": (0, 1, 3), "test": (2,)}
_PHOTO = "coins.png"


class Strip(NamedTuple):
    """One row of coins.

    Attributes:
      image: uint8 `[height, width, 3]`.
      masks: bool `[coins, height, width]`, from left to right.
      boxes: float32 `[coins, 4]`: x1, y1, x2, y2, the last two outside.
      name: such as "coins/row_1".
    """

    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    name: str


def coin_strips(split: str) -> list[Strip]:
    """Returns the strips of a part of the photo.

    Args:
      split: "train": the first, second and fourth row; "test": the third.

    Raises:
      UserError: another split, no scikit-image, or another photo than the annotated one.
    """
    if split not in _ROWS:
        raise UserError(f"coins have no split {split!r}; {did_you_mean(split, _ROWS)}")
    photo, masks = _photo(), _masks()
    if photo.shape[:2] != masks.shape[1:]:
        (a, b), (c, d) = photo.shape[:2], masks.shape[1:]
        raise UserError(f"scikit-image's {_PHOTO} is {b}x{a}, the annotated one {d}x{c}")
    rows = masks.reshape(-1, _PER_ROW, *masks.shape[1:])
    edges = [bounding_box(row.any(0)) for row in rows]
    cuts = [(a[3] + b[1]) // 2 for a, b in itertools.pairwise(edges)]
    bounds = [0, *cuts, len(photo)]
    strips = []
    for row in _ROWS[split]:
        part = slice(bounds[row], bounds[row + 1])
        inside = rows[row][:, part]
        boxes = np.array([bounding_box(mask) for mask in inside], np.float32)
        strips.append(Strip(photo[part], inside, boxes, f"coins/row_{row + 1}"))
    return strips


def coins_source(split: str) -> LabelMapArrays:
    """Returns three strips for training or the held-out one, with classes background and coin.

    Args:
      split: "train" or "test".

    Raises:
      UserError: as `coin_strips`.
    """
    strips = coin_strips(split)
    return LabelMapArrays(
        [strip.image for strip in strips],
        [strip.masks.any(0).astype(np.uint8) for strip in strips],
        [strip.name for strip in strips],
        CLASS_NAMES,
        PALETTE,
    )


def _photo() -> np.ndarray:
    photos = photos_source("train")
    (index,) = (i for i in range(len(photos)) if photos.name(i) == _PHOTO)
    return decode(photos[index]["target"])


def _masks() -> np.ndarray:
    rows = json.loads(ANNOTATION.read_text())["annotations"]
    return np.stack([decode_rle(row["segmentation"]) for row in rows])
