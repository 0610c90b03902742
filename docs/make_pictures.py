"""Makes the pictures of the documentation: `python -m docs.make_pictures`.

Models are those of `runs/digits`, trained by `configs/maxvit_digits.py`, of `runs/photos` by
`configs/maxim_photos.py`, `runs/detector` by `configs/detect_shapes.py` and `runs/shapes` by
`configs/segment_shapes.py`. What they are shown is held out.

Photos from scikit-image: `chelsea` by Stefan van der Walt and `coffee` by Rachel Michetti, CC0;
`rocket` by SpaceX, public domain.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import maxim_jax
from common.data.degradations import parse_degradations
from common.data.images import decode
from common.data.pairs import photos_source
from common.data.preprocess import normalize
from common.data.shapes import CLASS_NAMES, PALETTE, shapes_source
from common.data.sources import digits_source
from common.heat_maps import enlarged, heat_figure, heat_map, marked, relative
from common.pictures import box_overlay, comparison_sheet, label_overlay
from maxim_jax.inference import Restorer
from maxim_jax.protocols import picture
from maxvit_jax import detectors, segmenters
from maxvit_jax.attention_maps import attentions, rollout
from maxvit_jax.detection import Detector
from maxvit_jax.detector_info import meaning_of_weights as meaning_of_detector
from maxvit_jax.explain import grad_cam
from maxvit_jax.inference import Classifier
from maxvit_jax.photo_options import PhotoOptions, load_classifier
from maxvit_jax.segmentation import Segmenter
from maxvit_jax.segmenter_info import meaning_of_weights as meaning_of_segmenter

FOLDER = Path(__file__).parent / "images"
SIDE = 300
RUN, DIGITS, DIGIT_SIDE = "runs/digits", (0, 1, 5), 128
RESTORED = {"chelsea.png": (40, 90), "coffee.png": (60, 180)}  # top and left of what is shown
SCENES, SCENE_SIDE, SURE = 5, 96, 0.5
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


def explained_sheet() -> np.ndarray:
    """Returns digits and what their model looks at, uint8 `[height, width, 3]`."""
    source, rows, captions = digits_source("test"), [], []
    loaded = load_classifier("maxvit_tiny", RUN, PhotoOptions(), "float32")
    classifier = Classifier(*loaded, batch_size=1)
    for position in DIGITS:
        shown = classifier.prepare(source[position]["image"])
        (best,) = classifier.top(shown, k=1)
        images = normalize(shown[None], loaded.data.mean, loaded.data.std)
        found = attentions(loaded.model, loaded.variables, images, "stage_1")
        evidence = grad_cam(loaded.model, loaded.variables, images, stage="stage_1")[0]
        pixel, large = (len(shown) // 2,) * 2, enlarged(shown, DIGIT_SIDE)
        maps = {
            "Grad-CAM": evidence,
            "rollout": rollout(found)[0],
            "window": found[0].shares(pixel)[0].mean(0),
            "grid": found[1].shares(pixel)[0].mean(0),
        }
        heat = [
            heat_map(relative(np.asarray(values)), large.shape[:2], smooth=name == "Grad-CAM")
            for name, values in maps.items()
        ]
        factor = len(large) // len(shown)
        center = tuple(place * factor + factor // 2 for place in pixel)
        rows.append([marked(large, center), *heat])
        captions.append([f"{best.name}, {best.probability:.0%}", *maps])
    return heat_figure(rows, captions, ("0", "largest value of each picture"), side=DIGIT_SIDE)


def restored_sheet() -> np.ndarray:
    """Returns parts of photos with noise and restored, uint8 `[height, width, 3]`."""
    source = photos_source("test")
    photos = {source.name(i): decode(source[i]["target"]) for i in range(len(source))}
    restorer = Restorer(*maxim_jax.load_pretrained("maxim_s1", "runs/photos"))
    degrade = parse_degradations([{"kind": "gaussian_noise", "sigma": 25.0}])
    images, captions = [], []
    for name, (top, left) in RESTORED.items():
        noisy = degrade(photos[name] / np.float32(255), np.random.default_rng(3))
        shown = np.s_[top : top + SIDE * 3 // 4, left : left + SIDE]
        images += [picture(noisy)[shown], picture(restorer(noisy))[shown]]
        captions += ["noise, sigma 25", "restored"]
    return comparison_sheet([images], [captions], side=SIDE)


def found_sheet() -> np.ndarray:
    """Returns drawn scenes with the objects and the classes that models find in them, uint8
    `[height, width, 3]`."""
    path = "runs/detector"
    model, variables = detectors.load_pretrained("tiny_moat_0+retinanet", path)
    detector = Detector(model, variables, *meaning_of_detector(path, model.num_classes))
    path = "runs/shapes"
    model, variables = segmenters.load_pretrained("tiny_moat_0+semantic_fpn", path)
    preparation, *_ = meaning_of_segmenter(path, model.num_classes)
    segmenter = Segmenter(model, variables, preparation)
    source, boxes, classes = shapes_source("test", size=SCENE_SIDE), [], []
    for index in range(SCENES):
        image = source[index]["image"]
        large, names = enlarged(image, 2 * SCENE_SIDE), CLASS_NAMES[1:]
        found, factor = detector(image).above(SURE), len(large) // len(image)
        places = found.boxes * factor
        labels = found.classes, names, PALETTE[1:]
        boxes.append(box_overlay(large, places, *labels, scores=found.scores))
        label_map = enlarged(segmenter(image).label_map, 2 * SCENE_SIDE)
        shapes = np.where(label_map == 0, len(PALETTE), label_map)  # the background as it is
        classes.append(label_overlay(large, shapes, PALETTE))
    captions = [[title] + [""] * (SCENES - 1) for title in ("objects", "classes")]
    return comparison_sheet([boxes, classes], captions, side=2 * SCENE_SIDE)


def main() -> None:
    """Writes all pictures."""
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(restored_sheet()).save(FOLDER / "restored.jpg", quality=88, optimize=True)
    Image.fromarray(found_sheet()).save(FOLDER / "found.jpg", quality=88, optimize=True)
    Image.fromarray(explained_sheet()).save(FOLDER / "explained.png", optimize=True)
    sheet = Image.fromarray(degradations_sheet())
    # A palette: noise doesn't compress, and this is less than half the size.
    palette = sheet.quantize(256)
    sheet = sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    sheet.save(FOLDER / "degradations.png", optimize=True)


if __name__ == "__main__":
    main()
