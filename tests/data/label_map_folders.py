"""Folders of images and label maps, as tests need them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.class_lists import (
    voc_colours,
)
from common.data.label_maps import make_label_map_source

RNG = np.random.RandomState(0)
SIZE = (6, 8)
CLASSES = "sky\nsea\nland\n"
COLOURS = "sky 0 0 200\nsea #00c864\nvoid 255 255 255\nland 10 20 30\n"
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:61,61,245::\n"
EXPECTED = np.array([[0, 1], [2, 255]], np.uint8)


def photo(path: Path, size: tuple[int, int] = SIZE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.randint(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def mask(path: Path, values=0, size: tuple[int, int] = SIZE, palette=None) -> Path:
    """A gray label map, or one of indices into `palette`; a number fills it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    values = np.full(size, values, np.uint8) if values.ndim == 0 else values
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)
    return path


def folder(root: Path, classes: str = CLASSES, count: int = 3, values=0) -> Path:
    (root / "classes.txt").write_text(classes)
    for i in range(count):
        photo(root / f"images/{i}.jpg")
        mask(root / f"masks/{i}.png", values)
    return root


def small(root: Path, image: Image.Image, classes: str | None = CLASSES, suffix=".png") -> Path:
    """A folder of one photo with the given label map."""
    photo(root / "images/a.png", image.size[::-1])
    (root / "masks").mkdir()
    image.save(root / f"masks/a{suffix}")
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root


def make(root: Path, kind: str = "folder", **fields):
    return make_label_map_source(kind, root=str(root), **fields)


def names(source) -> list[str]:
    assert [source[i]["name"] for i in range(len(source))] == [
        source.name(i) for i in range(len(source))
    ]
    return [source.name(i) for i in range(len(source))]


def voc(root: Path, label_maps: str = "SegmentationClass", values=0, stems=("2007_1", "2007_2")):
    for stem in stems:
        photo(root / f"JPEGImages/{stem}.jpg")
        mask(root / f"{label_maps}/{stem}.png", values, palette=voc_colours(256))


def voc_list(root: Path, name: str, text: str) -> None:
    (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)


def cvat(root: Path) -> None:
    """What CVAT exports as "Segmentation mask 1.1", images saved."""
    (root / "labelmap.txt").write_text(LABELMAP)
    stems = [f"frame {i}" for i in range(6)]
    voc_list(root, "default", "\n".join(stems) + "\n")
    colours = np.array([[0, 0, 0], [250, 50, 83], [61, 61, 245]], np.uint8)
    for i, stem in enumerate(stems):
        photo(root / f"JPEGImages/{stem}.{'png' if i % 2 else 'jpg'}")
        pixels = np.zeros((*SIZE, 3), np.uint8)
        pixels[: i + 1, :4] = colours[1 + i % 2]
        for name in ("SegmentationClass", "SegmentationObject"):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / f"{name}/{stem}.png")


def label_studio(root: Path, count: int = 4) -> None:
    """What Label Studio exports as "COCO with Images": outlines on all images but the last."""
    images, annotations = [], []
    for i in range(count):
        name = f"{i:08x}-photo {i}.jpg"
        photo(root / "images" / name, (30, 40))
        entry = {"width": 40, "height": 30, "id": i, "file_name": f"../upload/1/{name}"}
        images.append(entry)
        boxes = [(10, 5, 10, 10), (25, 20, 10, 5)] if i < count - 1 else []
        for category, (x, y, width, height) in enumerate(boxes):
            outline = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": i,
                    "category_id": category,
                    "segmentation": [[float(value) for value in outline]],
                    "bbox": [float(value) for value in (x, y, width, height)],
                    "ignore": 0,
                    "iscrowd": 0,
                    "area": float(width * height),
                }
            )
    data = {
        "images": images,
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": annotations,
        "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio"},
    }
    (root / "result.json").write_text(json.dumps(data, indent=2))
