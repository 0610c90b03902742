"""A picture of lines through points on logarithmic axes, such as what sizes of images cost."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.errors import readable

_SCALE = 2  # drawn at twice the size, so that lines are smooth
_SIDE, _LEFT, _TOP, _BOTTOM, _NAMES = 400, 64, 56, 44, 160
_GRID = (225, 225, 225)


def line_plot(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    palette: np.ndarray,
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> np.ndarray:
    """Draws lines and their points, with the names beside; both axes are logarithmic.

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
    size = (_LEFT + _SIDE + _NAMES, _TOP + max(_SIDE, 20 * len(lines)) + _BOTTOM)
    picture = Image.new("RGB", tuple(_SCALE * side for side in size), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12 * _SCALE)

    def place(x: float, y: float) -> tuple[float, float]:
        return _SCALE * (_LEFT + _SIDE * x), _SCALE * (_TOP + _SIDE * (1 - y))

    draw.text((_SCALE * _LEFT, _SCALE * 8), title, "black", font)
    draw.text((_SCALE * 8, _SCALE * 30), y_label, "gray", font)
    below = place(0.5, 0)[0], place(0, 0)[1] + _SCALE * 22
    draw.text(below, x_label, "gray", font, anchor="ma")
    for x in sorted(set(xs)):
        left, bottom = place(across(x), 0)
        draw.line((left, bottom, *place(across(x), 1)), _GRID, _SCALE)
        draw.text((left, bottom + 4 * _SCALE), f"{x:g}", "gray", font, anchor="ma")
    for y in up.ticks():
        left, bottom = place(0, up(y))
        draw.line((left, bottom, *place(1, up(y))), _GRID, _SCALE)
        draw.text((left - 6 * _SCALE, bottom), f"{y:g}", "gray", font, anchor="rm")
    for i, ((name, line), color) in enumerate(zip(lines.items(), palette.tolist(), strict=True)):
        corners = [place(across(x), up(y)) for x, y in sorted(line)]
        if len(corners) > 1:
            draw.line(corners, tuple(color), 2 * _SCALE, joint="curve")
        for x, y in corners:
            reach = 3 * _SCALE
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), tuple(color))
        x, y = _SCALE * (_LEFT + _SIDE + 14), _SCALE * (_TOP + 10 + 20 * i)
        draw.line((x, y, x + 20 * _SCALE, y), tuple(color), 2 * _SCALE)
        draw.text((x + 26 * _SCALE, y), readable(name)[:18], "black", font, anchor="lm")
    return np.asarray(picture.reduce(_SCALE))


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
