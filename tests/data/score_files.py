"""Folders of images with scores, as AVA has them and as CSV files."""

import numpy as np
from PIL import Image

VOTES = ((0, 1, 3, 9, 2), (1, 1, 1, 1, 1), (5, 3, 0, 0, 0))


def write_images(folder, names, side=12):
    """Writes images of noise."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (side, side + 2, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


def ava_line(index, image, counts=(0, 0, 1, 5, 9, 5, 1, 0, 0, 0)):
    return " ".join(map(str, (index, image, *counts, 1, 22, 1396)))


def csv_text(rows, head="image,c1,c2,c3,c4,c5"):
    return "\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n"
