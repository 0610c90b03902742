"""A confusion matrix as a picture: names, counts and totals where there is room, and a scale."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import readable

MOST_NAMED = 30  # classes; of more, cells are too small for names and counts
CELL = 32  # pixels of a side of these
LEFT, TOP = 110, 154  # of the matrix, if it has names
_HEADER = 44  # title, and what rows and columns are
_SIDE = 1024  # of the matrix, at most, if it has no names
_TOTALS = 48
_SCALE = (14, 120)  # width and least height of the bar
_TICKS = (0, 1, 10, 25, 50, 100)  # per cent
_DARKEST = np.array([20, 60, 140])


def confusion_picture(
    confusion: np.ndarray,
    names: Sequence[str],
    *,
    title: str = "Confusions",
    unit: str = "images",
) -> np.ndarray:
    """Draws a confusion matrix, rows the right class, columns the predicted one.

    Args:
      confusion: counts `[classes, classes]`.
      names: class names; written beside the matrix, with counts and totals, up to 30 classes.
      title: above.
      unit: what is counted.

    Returns:
      uint8 `[height, width, 3]`; darker is a larger fraction of the row.
    """
    classes = len(confusion)
    named = classes <= MOST_NAMED
    cell = CELL if named else max(1, _SIDE // classes)
    left, top = (LEFT, TOP) if named else (8, _HEADER + 8)
    side, totals = classes * cell, _TOTALS if named else 0
    bar_left, bar_height = left + side + totals + 24, max(side, _SCALE[1])
    size = (max(bar_left + 120, 440), top + max(side + totals, bar_height) + 16)
    picture = Image.new("RGB", size, "white")
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    cells = _ink(share).repeat(cell, axis=0).repeat(cell, axis=1)
    picture.paste(Image.fromarray(cells), (left, top))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    draw.text((8, 6), title, "black", ImageFont.load_default(size=14))
    what = f"{int(confusion.sum()):,} {unit}, {classes:,} classes; rows: label, columns: predicted"
    draw.text((8, 26), what, "gray", font)
    if named:
        _write_names(picture, names, side)
        _write_counts(draw, confusion, share)
    _draw_scale(picture, (bar_left, top), bar_height)
    return np.asarray(picture)


def _ink(share: np.ndarray) -> np.ndarray:
    """Colours `[..., 3]` of shares `[...]`; by the root: a few errors among hundreds show."""
    ink = np.sqrt(share)[..., None]
    return (255 * (1 - ink) + _DARKEST * ink).astype(np.uint8)


def _write_names(picture: Image.Image, names: Sequence[str], side: int) -> None:
    font, height = ImageFont.load_default(size=11), TOP - _HEADER
    columns = Image.new("RGB", (height, side + _TOTALS), "white")  # turned at the end
    draws = ImageDraw.Draw(picture), ImageDraw.Draw(columns)
    for i, name in enumerate([*names, "total"]):
        middle = i * CELL + CELL // 2 + (8 if i == len(names) else 0)
        short = readable(name)[:16]
        draws[0].text((4, TOP + middle), short, "black", font, anchor="lm")
        draws[1].text((4, middle), short, "black", font, anchor="lm")
    picture.paste(columns.rotate(90, expand=True), (LEFT, _HEADER))


def _write_counts(draw: ImageDraw.ImageDraw, confusion: np.ndarray, share: np.ndarray) -> None:
    font, end = ImageFont.load_default(size=11), len(confusion) * CELL + 8

    def write(x: int, y: int, count: int, color: str) -> None:
        place = (LEFT + x + CELL // 2, TOP + y + CELL // 2)
        draw.text(place, _short(count), color, font, anchor="mm")

    for i, j in np.argwhere(confusion):
        write(j * CELL, i * CELL, confusion[i, j], "white" if share[i, j] > 0.3 else "black")
    for i, (row, column) in enumerate(zip(confusion.sum(1), confusion.sum(0), strict=True)):
        write(end, i * CELL, row, "black")
        write(i * CELL, end, column, "black")
    write(end, end, confusion.sum(), "black")


def _draw_scale(picture: Image.Image, corner: tuple[int, int], height: int) -> None:
    """A bar with the colours of 0 to 100 % from below."""
    (left, top), (width, _) = corner, _SCALE
    share = np.linspace(1, 0, height)[:, None].repeat(width, 1) ** 2
    picture.paste(Image.fromarray(_ink(share)), corner)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    draw.rectangle((left, top, left + width - 1, top + height - 1), outline="gray")
    draw.text((left, top - 6), "share of the row", "gray", font, anchor="lb")
    for tick in _TICKS:
        place = (left + width + 6, top + (1 - np.sqrt(tick / 100)) * (height - 1))
        draw.text(place, f"{tick} %", "gray", font, anchor="lm")


def _short(count: int) -> str:
    """At most four characters, such as 9999, 12k or 1.2M."""
    if count < 10_000:
        return str(count)
    number, units = float(count), iter("kMGTP")
    while number >= 999.5:
        number, unit = number / 1000, next(units)
    return f"{number:.1f}{unit}" if number < 9.95 else f"{number:.0f}{unit}"
