"""Pictures for people: sheets of captioned images, comparisons, overlays and plots."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from common.errors import readable
from common.unfinished import write_bytes

CAPTION_HEIGHT = 16
_LONGEST_LINE = 500  # characters


def captioned_sheet(images: np.ndarray, captions: list[str], *, side: int = 128) -> np.ndarray:
    """Lays images out in a near-square sheet, each with a line of text below.

    Args:
      images: uint8 `[count, height, width, 3]`; small ones are enlarged without smoothing.
      captions: one per image; a caption that starts with `!` is drawn in red, without the mark.
      side: pixels of an image's longer side on the sheet.

    Returns:
      uint8 `[sheet height, sheet width, 3]`.
    """
    count, height, width = images.shape[:3]
    size = _fit(height, width, side)
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    cell = (size[0] + 4, size[1] + CAPTION_HEIGHT + 4)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), "white")
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        corner = (i % columns * cell[0] + 2, i // columns * cell[1] + 2)
        _paste(sheet, image, caption, corner, size, cell[0])
    return np.asarray(sheet)


def comparison_sheet(
    rows: list[list[np.ndarray]], captions: list[list[str]], *, side: int = 256
) -> np.ndarray:
    """Lays images out in rows to be compared, such as input | restored | target.

    Args:
      rows: uint8 `[height, width, 3]` per image; sizes and row lengths may differ. Small images
        are enlarged without smoothing.
      captions: one line of text per image, in the same nesting; `!` first makes it red.
      side: pixels of an image's longer side on the sheet.

    Returns:
      uint8 `[sheet height, sheet width, 3]`.

    Raises:
      ValueError: there is no row, or captions and images don't pair up.
    """
    sizes = [[_fit(*image.shape[:2], side) for image in row] for row in rows]
    heights = [max(h for _, h in row) + CAPTION_HEIGHT + 4 for row in sizes]
    cell = max(w for row in sizes for w, _ in row) + 4
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * cell, sum(heights)), "white")
    y = 2
    for images, texts, row, height in zip(rows, captions, sizes, heights, strict=True):
        for i, (image, text, size) in enumerate(zip(images, texts, row, strict=True)):
            _paste(sheet, image, text, (i * cell + 2, y), size, cell)
        y += height
    return np.asarray(sheet)


def photo_sheet(
    photos: Iterable[np.ndarray], captions: Sequence[str], *, columns: int, side: int
) -> np.ndarray:
    """Lays photos of any sizes out in rows; each is shrunk before the next one is asked for.

    Args:
      photos: uint8 `[height, width, 3]`.
      captions: one line of text per photo; `!` first makes it red.
      columns: photos in a row.
      side: pixels of a photo's longer side on the sheet.

    Returns:
      uint8 `[sheet height, sheet width, 3]`.
    """
    small = [_shrunk(photo, side) for photo in photos]
    starts = range(0, len(small), columns)
    rows = [[values[i : i + columns] for i in starts] for values in (small, [*captions])]
    return comparison_sheet(*rows, side=side)


def label_overlay(image: np.ndarray, label_map: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paints classes over an image, with a line where they meet; ignored pixels stay.

    Args:
      image: uint8 `[height, width, 3]`.
      label_map: integers `[height, width]`; those that the palette lacks are ignored.
      palette: uint8 `[classes, 3]`.

    Returns:
      uint8 `[height, width, 3]`.
    """
    known = label_map < len(palette)
    colors = palette[np.where(known, label_map, 0)]
    edges = np.zeros_like(known)
    edges[1:] |= label_map[1:] != label_map[:-1]
    edges[:, 1:] |= label_map[:, 1:] != label_map[:, :-1]
    share = np.where(edges, 0.9, np.where(known, 0.5, 0.0))[..., None]
    return np.rint(image * (1 - share) + colors * share).astype(np.uint8)


def box_overlay(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    palette: np.ndarray,
    *,
    scores: Sequence[float] | None = None,
    masks: Iterable[np.ndarray] | None = None,
) -> np.ndarray:
    """Draws objects over an image: boxes with names, masks translucent with an outline.

    Lines and letters grow with the image. Names stand where no other one does, if they can.

    Args:
      image: uint8 `[height, width, 3]`.
      boxes: `[objects, 4]`: x1, y1, x2, y2 in pixels, x2 and y2 outside.
      labels: one per object, an index into `names` and `palette`.
      names: of the classes.
      palette: uint8 `[classes, 3]`.
      scores: 0..1, beside the names; objects of higher scores are drawn over others.
      masks: bool `[height, width]` per object.

    Returns:
      uint8 `[height, width, 3]`.
    """
    height, width = image.shape[:2]
    stroke = max(1, round(max(height, width) / 300))
    colors = [tuple(palette[k].tolist()) for k in labels]
    picture = image
    pairs = () if masks is None else zip(masks, colors, strict=True)
    for mask, color in pairs:
        picture = label_overlay(picture, np.where(mask, 0, 1), np.array([color]))
    picture = Image.fromarray(picture)
    draw, taken = ImageDraw.Draw(picture), []
    best_first = range(len(boxes)) if scores is None else np.argsort(-np.asarray(scores))
    for i in reversed(best_first):
        x1, y1, x2, y2 = np.clip(np.rint(boxes[i]), 0, [width, height, width, height])
        corners = (min(x1, width - 1), min(y1, height - 1), max(x1, x2 - 1), max(y1, y2 - 1))
        draw.rectangle(corners, outline=colors[i], width=stroke)
    for i in best_first:
        text = names[labels[i]] + ("" if scores is None else f" {scores[i]:.2f}")
        taken.append(_tag(draw, text, boxes[i], colors[i], taken))
    return np.asarray(picture)


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: np.ndarray,
    color: tuple[int, ...],
    taken: Sequence[tuple[int, ...]],
) -> tuple[int, ...]:
    """Writes text at a box, within the picture, and returns where."""
    width, height = draw.im.size
    box = np.rint(box).astype(int).tolist()
    font = ImageFont.load_default(size=max(10, max(width, height) / 42))
    text_height = sum(font.getmetrics())
    text = _fitted(draw, text, font, width - 4)
    text_width = math.ceil(draw.textlength(text, font)) + 4
    x1, y1, x2, y2 = box
    above, below = y1 - text_height, y2
    places = [
        (min(max(x, 0), width - text_width), min(max(y, 0), max(height - text_height, 0)))
        for x, y in (
            *((x1, above), (x1, y1), (x2 - text_width, above)),
            *((x1, below), (x1, y2 - text_height), (x2 - text_width, below)),
        )
    ]
    areas = [(x, y, x + text_width, y + text_height) for x, y in places]
    clear = [a for a in areas if not any(_overlap(a, b) for b in taken)]
    area = (clear or areas)[0]
    draw.rectangle(area, fill=color)
    ink = "black" if np.dot(color, (0.299, 0.587, 0.114)) > 128 else "white"
    draw.text((area[0] + 2, area[1]), text, fill=ink, font=font)
    return area


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def encoded(picture: np.ndarray, kind: str = "PNG", palette: np.ndarray | None = None) -> bytes:
    """Returns the content of an image file.

    Args:
      picture: uint8 `[height, width, 3]`, or with a palette the indices `[height, width]`.
      kind: `"PNG"` or `"JPEG"`.
      palette: uint8 `[colors, 3]`.
    """
    image = Image.fromarray(picture)
    if palette is not None:
        image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def save_png(path: epath.Path, picture: np.ndarray) -> None:
    """Writes a uint8 `[height, width, 3]` picture; the file is complete or not there."""
    write_bytes(path, encoded(picture))


def _fit(height: int, width: int, side: int) -> tuple[int, int]:
    """Width and height with the longer one `side`."""
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrunk(photo: np.ndarray, side: int) -> np.ndarray:
    height, width = photo.shape[:2]
    if max(height, width) <= side:
        return photo
    size = _fit(height, width, side)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _paste(
    sheet: Image.Image,
    image: np.ndarray,
    caption: str,
    corner: tuple[int, int],
    size: tuple[int, int],
    cell_width: int,
) -> None:
    """Puts an image of `size` (width, height) at `corner`, and its caption below."""
    smooth = size[0] < image.shape[1] or size[1] < image.shape[0]
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    sheet.paste(Image.fromarray(image).resize(size, method), corner)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    color = "red" if caption.startswith("!") else "black"
    text = _fitted(draw, caption.removeprefix("!"), font, cell_width - 4)
    draw.text((corner[0], corner[1] + size[1]), text, fill=color, font=font)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """What of a text is drawn in one line of so many pixels."""
    text = readable(text[:_LONGEST_LINE])
    while text and draw.textlength(text, font) > width:
        text = text[:-1]
    return text


def dot_plot(values: Mapping[str, Sequence[float]], *, title: str) -> np.ndarray:
    """Draws a row of dots per name, and a bar at their mean, on one scale.

    Args:
      values: some numbers per name; names without any stay empty.
      title: above the rows, with the scale's unit.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      ValueError: there is no number at all.
    """
    low, high, step = _scale([value for row in values.values() for value in row])
    left, top, width, height = 150, 48, 480, 24
    picture = Image.new("RGB", (left + width + 90, top + height * len(values) + 28), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    draw.text((left, 6), title, fill="black", font=font)

    def place(value: float) -> float:
        return left + width * (value - low) / (high - low)

    bottom = top + height * len(values)
    for tick in np.arange(low, high + step / 2, step):
        draw.line((place(tick), top - 4, place(tick), bottom), fill=(220, 220, 220))
        draw.text((place(tick), bottom + 4), f"{tick:g}", fill="gray", font=font, anchor="ma")
    for i, (name, row) in enumerate(values.items()):
        y = top + height * i + height / 2
        draw.text((left - 8, y), readable(name), fill="black", font=font, anchor="rm")
        for value in row:
            draw.ellipse((place(value) - 4, y - 4, place(value) + 4, y + 4), outline=(20, 60, 140))
        if row:
            mean = float(np.mean(row))
            draw.rectangle((place(mean) - 1, y - 9, place(mean) + 1, y + 9), fill=(200, 60, 20))
            text = f"{mean:.4g}"
            draw.text((left + width + 14, y), text, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def _scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Ends of an axis and the step of its ticks: 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    raw = max(high - low, 1e-3 * max(abs(high), 1e-9)) / 4
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    low, high = np.floor(low / step) * step, np.ceil(high / step) * step
    return low, max(high, low + step), step
