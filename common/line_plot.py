"""Pictures of lines through points, with their names beside: curves in 0..1, and on logarithmic
axes, such as what sizes of images cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import readable

_SCALE = 2  # drawn at twice the size, so that lines are smooth
_SIDE, _LEFT, _TOP, _BOTTOM, _NAMES = 400, 64, 56, 44, 200
_GRID = (220, 220, 220)


def line_plot(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    palette: np.ndarray,
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> np.ndarray:
    """Draws lines and their points; both axes are logarithmic.

    Args:
      lines: x and y of the points by name, both positive; names without points stay in the legend.
      palette: uint8 `[lines, 3]`.
      title: above.
      x_label: below.
      y_label: above the axis.

    Returns:
      uint8 `[height, width, 3]`.
    """
    points = [point for line in lines.values() for point in line] or [(1.0, 1.0)]
    xs, ys = zip(*points, strict=True)
    across, up = _Axis(xs), _Axis(ys)
    plot = _Plot(len(lines), title, x_label, y_label)
    plot.ticks(
        [(across(x), f"{x:g}") for x in sorted(set(xs))], [(up(y), f"{y:g}") for y in up.ticks()]
    )
    for i, ((name, line), color) in enumerate(zip(lines.items(), palette.tolist(), strict=True)):
        places = [(across(x), up(y)) for x, y in sorted(line)]
        plot.line(i, name, places, tuple(color), width=2)
        plot.dots(places, tuple(color))
    return plot.picture()


def curve_plot(
    curves: Mapping[str, np.ndarray],
    palette: np.ndarray,
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> np.ndarray:
    """Draws curves over 0..1 with values in 0..1; the first one is thick.

    Args:
      curves: float `[points]` by name, evenly spaced from 0 to 1; NaNs are left out.
      palette: uint8 `[curves, 3]`.
      title: above.
      x_label: below.
      y_label: above the axis.

    Returns:
      uint8 `[height, width, 3]`.
    """
    plot = _Plot(len(curves), title, x_label, y_label)
    tenths = [(tick, f"{tick:.1f}") for tick in np.linspace(0, 1, 6)]
    plot.ticks(tenths, tenths)
    drawn = list(zip(curves.items(), palette.tolist(), strict=True))
    for i, ((name, values), color) in reversed(list(enumerate(drawn))):
        points = np.stack([np.linspace(0, 1, len(values)), values], 1)[np.isfinite(values)]
        plot.line(i, name, points.tolist(), tuple(color), width=1 if i else 3)
    return plot.picture()


class _Plot:
    """A square in which places are 0..1 along both axes, and names beside it."""

    def __init__(self, names: int, title: str, x_label: str, y_label: str):
        size = (_LEFT + _SIDE + _NAMES, _TOP + max(_SIDE, 20 * names) + _BOTTOM)
        self._picture = Image.new("RGB", tuple(_SCALE * side for side in size), "white")
        self._draw = ImageDraw.Draw(self._picture)
        self._text((_LEFT, 8), title, "black")
        self._text((8, 30), y_label, "gray")
        self._text((_LEFT + _SIDE / 2, _TOP + _SIDE + 22), x_label, "gray", "ma")

    def ticks(self, across: Iterable[tuple[float, str]], up: Iterable[tuple[float, str]]) -> None:
        """Draws the grid, and the words at its lines."""
        for x, words in across:
            self._join([(x, 0), (x, 1)], _GRID, 1)
            self._text((_LEFT + _SIDE * x, _TOP + _SIDE + 4), words, "gray", "ma")
        for y, words in up:
            self._join([(0, y), (1, y)], _GRID, 1)
            self._text((_LEFT - 6, _TOP + _SIDE * (1 - y)), words, "gray", "rm")

    def line(
        self,
        number: int,
        name: str,
        places: Sequence[tuple[float, float]],
        color: tuple[int, ...],
        width: int,
    ) -> None:
        """Draws a line through places, and its name as the one of that number."""
        if len(places) > 1:
            self._join(places, color, width)
        left, y = _LEFT + _SIDE + 14, _TOP + 10 + 20 * number
        ends = (_SCALE * left, _SCALE * y, _SCALE * (left + 20), _SCALE * y)
        self._draw.line(ends, color, _SCALE * width)
        self._text((left + 26, y), readable(name)[:22], "black", "lm")

    def dots(self, places: Iterable[tuple[float, float]], color: tuple[int, ...]) -> None:
        """Marks places."""
        for x, y in map(_corner, places):
            reach = 3 * _SCALE
            self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), color)

    def picture(self) -> np.ndarray:
        """Returns uint8 `[height, width, 3]`."""
        return np.asarray(self._picture.reduce(_SCALE))

    def _join(
        self, places: Iterable[tuple[float, float]], color: tuple[int, ...], width: int
    ) -> None:
        self._draw.line([*map(_corner, places)], color, _SCALE * width, joint="curve")

    def _text(self, at: tuple[float, float], words: str, color: str, anchor: str = "la") -> None:
        font = ImageFont.load_default(size=12 * _SCALE)
        self._draw.text((_SCALE * at[0], _SCALE * at[1]), words, color, font, anchor=anchor)


def _corner(place: tuple[float, float]) -> tuple[float, float]:
    x, y = place
    return _SCALE * (_LEFT + _SIDE * x), _SCALE * (_TOP + _SIDE * (1 - y))


class _Axis:
    """Places of positive values along a logarithmic axis: 0 to 1."""

    def __init__(self, values: Sequence[float]):
        room = 0.03 * max(np.log(max(values) / min(values)), 0.1)
        self._low, self._high = np.log(min(values)) - room, np.log(max(values)) + room

    def __call__(self, value: float) -> float:
        return (np.log(value) - self._low) / (self._high - self._low)

    def ticks(self) -> Iterator[float]:
        """1, 2 and 5 times powers of ten; of many only the powers."""
        powers = range(
            int(np.floor(self._low / np.log(10))), int(np.ceil(self._high / np.log(10))) + 1
        )
        steps = (1,) if len(powers) > 4 else (1, 2, 5)
        for power in powers:
            for step in steps:
                if 0 <= self(value := step * 10.0**power) <= 1:
                    yield value
