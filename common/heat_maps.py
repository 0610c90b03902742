"""Maps of values over photos: colours, overlays, and figures with their colour scale below."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.pictures import comparison_sheet

_BAR = (160, 10)  # width and height of the colour scale
_MARK = (255, 40, 40)


def heat_colors(values: np.ndarray) -> np.ndarray:
    """Returns the colours of values, uint8 `[..., 3]`: from dark violet at 0 to yellow at 1.

    Args:
      values: `[height, width]` in 0..1; equal steps look equal, also in print (viridis).
    """
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def relative(values: np.ndarray) -> np.ndarray:
    """Returns values of 0 or more over the largest of them, or zeros where all are."""
    return values / max(float(values.max()), np.finfo(np.float32).tiny)


def heat_map(values: np.ndarray, size: tuple[int, int], *, smooth: bool) -> np.ndarray:
    """Returns the colours of values that are spread over a photo, uint8 `[height, width, 3]`.

    Args:
      values: `[rows, columns]` in 0..1.
      size: height and width of the photo.
      smooth: interpolate between positions; otherwise each is a rectangle.
    """
    method = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return heat_colors(cv2.resize(values.astype(np.float32), size[::-1], interpolation=method))


def heat_overlay(image: np.ndarray, values: np.ndarray, *, smooth: bool) -> np.ndarray:
    """Paints values over a photo, half and half, whose own colours become gray.

    Args:
      image: uint8 `[height, width, 3]`.
      values: as for `heat_map`.
      smooth: the same.

    Returns:
      uint8 `[height, width, 3]`.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    heat = heat_map(values, image.shape[:2], smooth=smooth)
    return np.rint(0.5 * gray + 0.5 * heat).astype(np.uint8)


def marked(image: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """Returns a photo with a cross over a pixel, given as row and column."""
    height, width = image.shape[:2]
    stroke, arm = max(1, round(max(height, width) / 150)), max(2, round(max(height, width) / 24))
    picture = Image.fromarray(image)
    draw, (y, x) = ImageDraw.Draw(picture), pixel
    for color, thickness in (("white", 3 * stroke), (_MARK, stroke)):
        draw.line((x - arm, y, x + arm, y), color, thickness)
        draw.line((x, y - arm, x, y + arm), color, thickness)
    return np.asarray(picture)


def signed_picture(change: np.ndarray, bound: float) -> np.ndarray:
    """Shows what was added per channel: gray where nothing was.

    Args:
      change: `[height, width, 3]`.
      bound: positive; changes of it are white, of minus it black, and so are larger ones.

    Returns:
      uint8 `[height, width, 3]`.
    """
    return np.rint(127.5 + 127.5 * np.clip(change / bound, -1, 1)).astype(np.uint8)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Returns a uint8 `[height, width, 3]` photo whose longer side is `side` or more: each pixel
    becomes a square of as many as that takes."""
    factor = -(-side // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def heat_figure(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]],
    ends: tuple[str, str],
    *,
    side: int,
) -> np.ndarray:
    """Lays pictures out in captioned rows, above the colour scale that they share.

    Args:
      rows: uint8 `[height, width, 3]` per picture.
      captions: one line of text per picture.
      ends: what the first and the last colour of the scale stand for.
      side: pixels of a picture's longer side on the figure.

    Returns:
      uint8 `[figure height, figure width, 3]`.
    """
    sheet = comparison_sheet([*map(list, rows)], [*map(list, captions)], side=side)
    font = ImageFont.load_default(size=11)
    low, high = (round(font.getlength(end)) + 6 for end in ends)
    width = max(sheet.shape[1], low + _BAR[0] + high + 4)
    figure = Image.new("RGB", (width, sheet.shape[0] + _BAR[1] + 12), "white")
    figure.paste(Image.fromarray(sheet), (0, 0))
    bar = heat_colors(np.broadcast_to(np.linspace(0, 1, _BAR[0]), _BAR[::-1]))
    top = sheet.shape[0] + 4
    figure.paste(Image.fromarray(bar), (low + 2, top))
    draw, middle = ImageDraw.Draw(figure), top + _BAR[1] / 2
    draw.text((low - 2, middle), ends[0], fill="black", font=font, anchor="rm")
    draw.text((low + _BAR[0] + 6, middle), ends[1], fill="black", font=font, anchor="lm")
    return np.asarray(figure)
