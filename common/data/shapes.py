"""Scenes of ellipses, rectangles and triangles with everything known about them.

Exact masks, boxes and label maps of textured shapes that hide one another, drawn in memory, each a
function of (seed, index): what segmentation and detection can be tried on without a download.
Textures are pieces of scikit-image's photos; those of the test split are never seen in training.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from common.data.class_lists import distinct_colours
from common.data.images import decode
from common.data.label_maps import LabelMapExample
from common.data.pairs import photos_source
from common.data.rle import bounding_box
from common.errors import UserError, did_you_mean

CLASS_NAMES = ("background", "ellipse", "rectangle", "triangle")
PALETTE = np.concatenate([np.zeros((1, 3), np.uint8), distinct_colours(len(CLASS_NAMES) - 1)])
LEAST_SIZE, MOST_SIZE = 32, 1024
_COUNTS = {"train": 2000, "test": 200}
_SEEDS = {"train": 0, "test": 1}
_MOST_OBJECTS = 4
_HALF_SIDES = (1 / 10, 1 / 4)  # of the scene's side: sides of 1/5 to 1/2
_LEAST_VISIBLE = 0.7  # of every shape
_TRIES = 8  # places before an object is given up
_CONTRAST = 70.0  # least distance of an object's colour from the background's and its neighbours'
_TEXTURE = 0.45  # share of a texture's own contrast
_TEXTURE_SCALE = 0.5  # photos are shrunk to it, so that a piece shows more of them


class Scene(NamedTuple):
    """A picture and what is in it, the objects from back to front.

    Attributes:
      image: uint8 `[size, size, 3]`.
      label_map: uint8 `[size, size]`: index into `CLASS_NAMES`.
      masks: bool `[objects, size, size]`: the visible part of each.
      boxes: float32 `[objects, 4]`: x1, y1, x2, y2 of the visible part, the last two outside, in
        pixels: exactly the bounds of the mask.
      classes: int64 `[objects]`: 1 to 3, as in the label map.
    """

    image: np.ndarray
    label_map: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def scene(seed: int, index: int, size: int, textures: Sequence[np.ndarray]) -> Scene:
    """Draws a scene of one to four shapes.

    Every shape lies within the picture and at least seven tenths of it are visible.

    Args:
      seed: 0 or more.
      index: 0 or more; another scene for each.
      size: side in pixels, 32 to 1024.
      textures: uint8 `[height, width, 3]` each.

    Returns:
      The scene: always the same one for the same arguments.
    """
    rng = np.random.default_rng([seed, index])
    image, used = _piece(textures, size, rng), [_contrasting_colour([], rng)]
    image = used[0] + _TEXTURE * (image - image.mean((0, 1)))
    label_map, owner = np.zeros((size, size), np.uint8), np.full((size, size), -1, np.int8)
    areas: list[int] = []
    classes: list[int] = []
    for _ in range(int(rng.integers(1, _MOST_OBJECTS + 1))):
        for _ in range(_TRIES):
            kind = int(rng.integers(1, len(CLASS_NAMES)))
            top, left, mask = _shape(kind, size, rng)
            place = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
            if _all_stay_visible(owner, owner[place][mask], areas):
                break
        else:
            continue
        piece = _piece(textures, max(mask.shape), rng)[: mask.shape[0], : mask.shape[1]]
        colour = _contrasting_colour(used, rng)
        pixels = piece[mask]
        image[place][mask] = colour + _TEXTURE * (pixels - pixels.mean(0))
        label_map[place][mask], owner[place][mask] = kind, len(areas)
        areas.append(int(mask.sum()))
        classes.append(kind)
        used.append(colour)
    masks = owner == np.arange(len(areas), dtype=np.int8)[:, None, None]
    return Scene(
        np.clip(np.rint(image), 0, 255).astype(np.uint8),
        label_map,
        masks,
        np.array([bounding_box(mask) for mask in masks], np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
    )


def _all_stay_visible(owner: np.ndarray, hidden: np.ndarray, areas: Sequence[int]) -> bool:
    """Whether enough of every shape is left when the pixels of `hidden` change their owner."""
    if not areas or not (hidden >= 0).any():
        return True
    count = len(areas) + 1
    now = np.bincount(owner.ravel() + 1, minlength=count)[1:]
    lost = np.bincount(hidden + 1, minlength=count)[1:]
    return bool((now - lost >= _LEAST_VISIBLE * np.array(areas)).all())


def _shape(kind: int, size: int, rng: np.random.Generator) -> tuple[int, int, np.ndarray]:
    """Top and left of a random shape, and its mask within its bounds: pixels by their centres."""
    across, along = rng.uniform(*_HALF_SIDES, size=2) * size
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    if kind == 1:
        reach_x, reach_y = np.hypot(across * cos, along * sin), np.hypot(across * sin, along * cos)
        offset_x = offset_y = 0.0
    else:
        if kind == 2:
            corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * (across, along)
        else:  # near to equilateral, or it would look like a splinter
            turns = 2 * np.pi / 3 * (np.arange(3) + rng.uniform(-0.12, 0.12, size=3))
            radius = 1.35 * max(across, along)
            corners = radius * np.stack([np.cos(turns), np.sin(turns)], -1)
        corners = corners @ np.array([(cos, sin), (-sin, cos)])
        low, high = corners.min(0), corners.max(0)
        (reach_x, reach_y), (offset_x, offset_y) = (high - low) / 2, (high + low) / 2
    # The middle of the bounds.
    x = rng.uniform(reach_x, size - reach_x)
    y = rng.uniform(reach_y, size - reach_y)
    left, top = int(x - reach_x), int(y - reach_y)
    right, bottom = min(int(x + reach_x) + 1, size), min(int(y + reach_y) + 1, size)
    columns = np.arange(left, right) + 0.5 - (x - offset_x)
    rows = (np.arange(top, bottom) + 0.5 - (y - offset_y))[:, None]
    if kind == 1:
        mask = ((columns * cos + rows * sin) / across) ** 2 + (
            (rows * cos - columns * sin) / along
        ) ** 2 <= 1
    else:
        mask = np.ones((bottom - top, right - left), bool)
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            mask &= (bx - ax) * (rows - ay) - (by - ay) * (columns - ax) >= 0
    return top, left, mask


def _piece(textures: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a random texture, mirrored at the edges if need be, float32."""
    texture = textures[int(rng.integers(len(textures)))]
    height, width = texture.shape[:2]
    top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in (height, width))
    piece = texture[top : top + size, left : left + size]
    missing = [(0, size - side) for side in piece.shape[:2]]
    if any(after for _, after in missing):
        piece = np.pad(piece, (*missing, (0, 0)), mode="symmetric")
    return piece.astype(np.float32)


def _contrasting_colour(used: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A colour far from those in use: the first that is far enough, or the farthest of several."""
    colours = rng.uniform(30, 225, size=(24, 3)).astype(np.float32)
    if not used:
        return colours[0]
    distances = np.linalg.norm(colours[:, None] - np.stack(used), axis=-1).min(-1)
    far = np.flatnonzero(distances >= _CONTRAST)
    return colours[far[0] if far.size else distances.argmax()]


@functools.cache
def photo_textures(split: str) -> tuple[np.ndarray, ...]:
    """Returns scikit-image's photos of a split at half their size, uint8 `[height, width, 3]` each.

    Raises:
      UserError: a split other than "train" and "test", or no scikit-image.
    """
    photos = photos_source(split)
    textures = []
    for i in range(len(photos)):
        photo = decode(photos[i]["target"])
        scale = {"fx": _TEXTURE_SCALE, "fy": _TEXTURE_SCALE, "interpolation": cv2.INTER_AREA}
        textures.append(cv2.resize(photo, None, **scale))
    return tuple(textures)


class ShapesSource:
    """Scenes as examples of segmentation; `scene(i)` has the objects.

    Args:
      split: "train" or "test": scenes and textures of their own.
      count: scenes; None: 2,000 or 200.
      size: side in pixels, 32 to 1024.

    Raises:
      UserError: another split, no scikit-image, or a number out of range.
    """

    def __init__(self, split: str, count: int | None = None, size: int = 128):
        if split not in _COUNTS:
            raise UserError(f"shapes have no split {split!r}; {did_you_mean(split, _COUNTS)}")
        if not LEAST_SIZE <= size <= MOST_SIZE:
            nearest = min(max(size, LEAST_SIZE), MOST_SIZE)
            raise UserError(f"shapes of size={size} can't be drawn; nearest valid: {nearest}")
        count = _COUNTS[split] if count is None else count
        if count < 1:
            raise UserError(f"{count} scenes of shapes are none; nearest valid: 1")
        self._split, self._count, self._size = split, count, size
        self.class_names, self.palette = list(CLASS_NAMES), PALETTE
        photos_source(split)  # says so now if scikit-image isn't there

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> LabelMapExample:
        drawn = self.scene(index)
        return {"image": drawn.image, "label_map": drawn.label_map, "name": self.name(index)}

    def scene(self, index: int) -> Scene:
        """Returns a scene with its objects."""
        index = range(self._count)[index]
        return scene(_SEEDS[self._split], index, self._size, photo_textures(self._split))

    def name(self, index: int) -> str:
        """Returns such as "shapes/test/00012"."""
        return f"shapes/{self._split}/{range(self._count)[index]:05}"

    def check(self, max_corrupt: int = 0) -> None:
        """Does nothing: there are no files."""


def shapes_source(split: str, count: int | None = None, size: int = 128) -> ShapesSource:
    """Returns drawn scenes; see `ShapesSource`."""
    return ShapesSource(split, count, size)
