"""A picture of points in a square, with the line on which both coordinates are equal."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SIDE, _LEFT, _TOP, _MARGIN = 480, 56, 40, 48
_RADIUS = 3  # of a point
_INK = np.array([20, 60, 140])
_OPACITY = 0.35  # of a point: where many are, it is darker; of more than these they are clearer
_OPAQUE = 500
_TICKS = 9  # at most


def scatter_plot(
    x: np.ndarray,
    y: np.ndarray,
    bounds: tuple[float, float],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> np.ndarray:
    """Draws points; any number of them takes the same memory.

    Args:
      x: float `[points]`.
      y: the same.
      bounds: of both axes; points beyond are drawn at the edge.
      title: above.
      x_label: below.
      y_label: above the axis.

    Returns:
      uint8 `[height, width, 3]`.
    """
    low, high = bounds
    size = _LEFT + _SIDE + _MARGIN, _TOP + 20 + _SIDE + _MARGIN
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    left, top, right, bottom = _LEFT, _TOP + 20, _LEFT + _SIDE, _TOP + 20 + _SIDE
    draw.text((left, 8), title, "black", font)
    draw.text((8, top - 22), y_label, "gray", font)
    draw.text(((left + right) / 2, bottom + 24), x_label, "gray", font, anchor="ma")
    for tick in np.linspace(low, high, _TICKS + 1):
        share = (tick - low) / (high - low)
        across, down = left + _SIDE * share, bottom - _SIDE * share
        draw.line((across, top, across, bottom), (225, 225, 225))
        draw.line((left, down, right, down), (225, 225, 225))
        draw.text((across, bottom + 6), f"{tick:.3g}", "gray", font, anchor="ma")
        draw.text((left - 6, down), f"{tick:.3g}", "gray", font, anchor="rm")
    draw.line((left, bottom, right, top), (200, 60, 20))
    pixels = np.array(picture)
    columns, rows = (
        np.rint(np.clip((values - low) / (high - low), 0, 1) * _SIDE).astype(int)
        for values in (np.asarray(x), np.asarray(y))
    )
    _paint(pixels, left + columns, bottom - rows)
    return pixels


def _paint(pixels: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> None:
    """Puts a translucent disc at every point."""
    points = np.zeros(pixels.shape[:2], np.int64)
    np.add.at(points, (rows, columns), 1)
    reach = np.arange(-_RADIUS, _RADIUS + 1)
    covered = np.zeros_like(points)
    for dy in reach:
        for dx in reach[reach**2 <= _RADIUS**2 + 1 - dy**2]:
            covered += np.roll(points, (dy, dx), (0, 1))  # margins are wider than the discs
    opacity = _OPACITY * min(1.0, (_OPAQUE / max(len(rows), 1)) ** 0.5)
    clear = (1 - opacity) ** covered[..., None]
    pixels[:] = np.rint(pixels * clear + _INK * (1 - clear)).astype(np.uint8)
