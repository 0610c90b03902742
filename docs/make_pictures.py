"""Makes the pictures of the documentation: `python -m docs.make_pictures`.

Photos from scikit-image: `coffee` by Rachel Michetti, CC0; `rocket` by SpaceX, public domain.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from common.data.degradations import parse_degradations
from common.data.images import decode
from common.data.pairs import photos_source
from common.pictures import comparison_sheet

FOLDER = Path(__file__).parent / "images"
SIDE = 300
# What is drawn: a photo, and what happens to it; an empty list is the photo itself.
ROWS = (
    (
        ("coffee.png", []),
        ("coffee.png", [{"kind": "gaussian_noise", "sigma": 25.0}]),
        ("coffee.png", [{"kind": "poisson_noise", "photons": 50.0}]),
    ),
    (
        ("coffee.png", [{"kind": "motion_blur", "length": 16.0, "angle": 30.0, "bend": 20.0}]),
        ("coffee.png", [{"kind": "defocus_blur", "radius": 4.0}]),
        ("coffee.png", [{"kind": "low_light", "exposure": 0.08, "photons": 1000.0}]),
    ),
    (
        ("rocket.jpg", []),
        ("rocket.jpg", [{"kind": "rain_streaks", "density": 0.2, "length": 30.0, "angle": 15.0}]),
        ("rocket.jpg", [{"kind": "haze", "beta": 1.0, "airlight": 0.5}]),
    ),
)


def degradations_sheet() -> np.ndarray:
    """Returns photos and each degradation of one, uint8 `[height, width, 3]`."""
    source = photos_source("test")
    photos = {source.name(i): decode(source[i]["target"]) for i in range(len(source))}
    images, captions = [], []
    for row in ROWS:
        images.append([_degraded(photos[name], items) for name, items in row])
        captions.append([_caption(items) for _, items in row])
    return comparison_sheet(images, captions, side=SIDE)


def _degraded(photo: np.ndarray, items: list[dict]) -> np.ndarray:
    height = round(SIDE * photo.shape[0] / photo.shape[1])
    photo = cv2.resize(photo, (SIDE, height), interpolation=cv2.INTER_AREA)
    degrade = parse_degradations(items)
    image = degrade(photo.astype(np.float32) / 255, np.random.default_rng(2))
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _caption(items: list[dict]) -> str:
    if not items:
        return "clean"
    fields = [f"{name} {value:g}" for name, value in items[0].items() if name != "kind"]
    return f"{items[0]['kind']}: {', '.join(fields)}"


def main() -> None:
    """Writes all pictures."""
    FOLDER.mkdir(exist_ok=True)
    sheet = Image.fromarray(degradations_sheet())
    # A palette: noise doesn't compress, and this is less than half the size.
    palette = sheet.quantize(256)
    sheet = sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    sheet.save(FOLDER / "degradations.png", optimize=True)


if __name__ == "__main__":
    main()
