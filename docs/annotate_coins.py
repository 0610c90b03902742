"""Outlines the coins of scikit-image's photograph: `python -m docs.annotate_coins`.

Writes `common/data/coins.json` (COCO's format) and `docs/images/coins.png`, which shows the
outlines. Centres and radii were set by eye. Around each, an outline is traced along the steepest
change from dark to bright that keeps its distance to the centre nearly constant; the result was
looked at and is committed, so that nobody needs to run this.

The photograph: Greek coins from Pompeii, Brooklyn Museum Collection, no known copyright
restrictions.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

from common.data.rle import bounding_box, encode_rle

JSON = Path(__file__).parent.parent / "common/data/coins.json"
PICTURE = Path(__file__).parent / "images/coins.png"
# Centre x, centre y, radius in pixels, in reading order, six to a row.
COINS = (
    ((44.5, 53.5, 22), (100.5, 56.5, 19.5), (155.5, 51, 23), (216, 51, 23.5), (276, 52.7, 20.5)),
    ((335, 43.5, 29), (46, 124.5, 20.5), (103, 126, 19), (153.7, 127.3, 19.5), (206, 124.7, 20)),
    ((270.7, 119.5, 25), (336.7, 125, 19.5), (44, 197, 19.5), (102.3, 195.7, 21.7)),
    ((154.7, 197.7, 19.3), (212.7, 193, 23.5), (274, 194.5, 22.5), (347.3, 187, 31.5)),
    ((46.5, 260.3, 27.5), (114, 265.7, 21.3), (172.7, 261.7, 27), (244.3, 263.7, 24.3)),
    ((301, 263.5, 25), (358, 268, 22.3)),
)
ANGLES = 180
LEAST, MOST, STEP = 0.8, 1.22, 0.25  # share of the radius; pixels
BEND = 1  # most steps that the distance changes by from one angle to the next


def outline(photo: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    """Traces one coin.

    Args:
      photo: gray, `[height, width]`.
      x: of the centre, in pixels.
      y: likewise.
      radius: about.

    Returns:
      float32 `[angles, 2]`: x and y of a closed outline.
    """
    distances = np.arange(LEAST * radius, MOST * radius, STEP)
    angles = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    smooth = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 1.0)

    def polar(offset: float) -> np.ndarray:
        at = distances[None] + offset
        across = (x + np.cos(angles)[:, None] * at).astype(np.float32)
        down = (y + np.sin(angles)[:, None] * at).astype(np.float32)
        return cv2.remap(smooth, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    inside, outside = polar(-1.5), polar(1.5)
    gain = inside - outside - 0.15 * outside  # dark outside: not a relief's edge within the coin
    path = _best_closed_path(gain)
    chosen = distances[path]
    spread = np.concatenate([chosen[-4:], chosen, chosen[:4]])
    chosen = np.convolve(spread, np.ones(9) / 9, "valid")
    points = np.stack([x + np.cos(angles) * chosen, y + np.sin(angles) * chosen], -1)
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def _best_closed_path(gain: np.ndarray) -> np.ndarray:
    """Of each row one column, neighbours at most BEND apart, with the largest sum; twice around."""
    rows = np.concatenate([gain, gain, gain])
    total = rows[0].copy()
    steps = np.zeros(rows.shape, int)
    offsets = np.arange(-BEND, BEND + 1)
    for i in range(1, len(rows)):
        options = np.stack([_shifted(total, offset) for offset in offsets])
        best = options.argmax(0)
        steps[i] = offsets[best]
        total = rows[i] + options.max(0)
    column, path = int(total.argmax()), []
    for i in range(len(rows) - 1, -1, -1):
        path.append(column)
        column += steps[i, column]
    return np.array(path[::-1])[len(gain) : 2 * len(gain)]


def _shifted(values: np.ndarray, offset: int) -> np.ndarray:
    at = np.arange(len(values)) + offset
    return np.where((at >= 0) & (at < len(values)), values[at.clip(0, len(values) - 1)], -np.inf)


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns the pixels whose centres lie within a convex outline, bool `[height, width]`."""
    down, across = np.mgrid[: shape[0], : shape[1]]
    ahead = np.roll(points, -1, axis=0) - points
    sides = [
        dx * (down - y) - dy * (across - x) for (x, y), (dx, dy) in zip(points, ahead, strict=True)
    ]
    sides = np.stack(sides)
    return (sides >= 0).all(0) | (sides <= 0).all(0)


def annotation(masks: list[np.ndarray]) -> dict:
    """Returns COCO's JSON of masks, bool `[height, width]` each."""
    height, width = masks[0].shape
    rows = []
    for number, mask in enumerate(masks, 1):
        left, top, right, bottom = bounding_box(mask)
        row = {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "segmentation": encode_rle(mask),
            "bbox": [left, top, right - left, bottom - top],
            "area": int(mask.sum()),
            "iscrowd": 0,
        }
        rows.append(row)
    return {
        "info": {"description": "The coins of scikit-image's photograph coins.png"},
        "images": [{"id": 1, "file_name": "coins.png", "height": height, "width": width}],
        "categories": [{"id": 1, "name": "coin"}],
        "annotations": rows,
    }


def overlay(photo: np.ndarray, masks: list[np.ndarray], scale: int = 2) -> np.ndarray:
    """Returns the photo with outlines, uint8 `[height * scale, width * scale, 3]`."""
    size = photo.shape[1] * scale, photo.shape[0] * scale
    picture = cv2.cvtColor(
        cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB
    )
    for mask in masks:
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, (255, 120, 0), 2)
    return picture


def main() -> None:
    """Writes the annotation and the picture to look at it."""
    photo = skimage.data.coins()
    coins = [coin for row in COINS for coin in row]
    masks = [filled(outline(photo, *coin), photo.shape) for coin in coins]
    found = json.dumps(annotation(masks)).replace('{"id"', '\n{"id"')
    JSON.write_text(found + "\n")
    picture = Image.fromarray(overlay(photo, masks)).quantize(32, dither=Image.Dither.NONE)
    picture.save(PICTURE, optimize=True)
    print(f"{len(masks)} coins, areas {[int(mask.sum()) for mask in masks]}")


if __name__ == "__main__":
    main()
