"""Pictures for people: contact sheets of captioned images, and confusion matrices."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CAPTION_HEIGHT = 16


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
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    cell = (size[0] + 4, size[1] + CAPTION_HEIGHT + 4)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = i % columns * cell[0] + 2, i // columns * cell[1] + 2
        sheet.paste(Image.fromarray(image).resize(size, smooth), (x, y))
        wrong = caption.startswith("!")
        while caption and draw.textlength(caption, font) > cell[0] - 2:
            caption = caption[:-1]
        color = "red" if wrong else "black"
        draw.text((x, y + size[1]), caption.removeprefix("!"), fill=color, font=font)
    return np.asarray(sheet)


def confusion_picture(confusion: np.ndarray, names: list[str]) -> np.ndarray:
    """Draws a confusion matrix, rows the right class, columns the predicted one.

    Args:
      confusion: counts `[classes, classes]`.
      names: class names; written beside the matrix, with the counts, up to 30 classes.

    Returns:
      uint8 `[height, width, 3]`; darker is a larger fraction of the row.
    """
    classes = len(confusion)
    labelled = classes <= 30
    cell = 32 if labelled else max(1, 1024 // classes)
    margin = 110 if labelled else 4
    picture = Image.new("RGB", (margin + classes * cell, margin + classes * cell), "white")
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # Square root: a few errors among hundreds stay visible.
    ink = np.sqrt(share)[..., None]
    colors = (255 * (1 - ink) + np.array([20, 60, 140]) * ink).astype(np.uint8)
    colors = colors.repeat(cell, axis=0).repeat(cell, axis=1)
    picture.paste(Image.fromarray(colors), (margin, margin))
    if labelled:
        _label_matrix(picture, confusion, share, names, cell, margin)
    return np.asarray(picture)


def _label_matrix(
    picture: Image.Image,
    confusion: np.ndarray,
    share: np.ndarray,
    names: list[str],
    cell: int,
    margin: int,
) -> None:
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    columns = Image.new("RGB", (margin, len(names) * cell), "white")  # turned at the end
    text = ImageDraw.Draw(columns)
    for i, name in enumerate(names):
        draw.text((4, margin + i * cell + 8), name[:16], fill="black", font=font)
        text.text((4, i * cell + 8), name[:16], fill="black", font=font)
        for j in np.flatnonzero(confusion[i]):
            color = "white" if share[i, j] > 0.3 else "black"
            place = (margin + j * cell + 4, margin + i * cell + 8)
            draw.text(place, str(confusion[i, j]), fill=color, font=font)
    picture.paste(columns.rotate(90, expand=True), (margin, 0))
    draw.text((4, 4), "rows: label\ncolumns: predicted", fill="gray", font=font)
