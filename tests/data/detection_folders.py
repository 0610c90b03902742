"""Folders of images with annotated objects, as tests need them."""

import json
from pathlib import Path
from typing import Any

from common.data.detection import make_detection_source
from tests.data.label_map_folders import photo

HEIGHT, WIDTH = 30, 40
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
RECTANGLE = [10.0, 5.0, 20.0, 5.0, 20.0, 15.0, 10.0, 15.0]  # of the first annotation


def annotation(number: int = 1, image: int = 5, category: int = 3, **fields: Any) -> dict:
    box = {"bbox": [10.0, 5.0, 10.0, 10.0], "area": 100.0, "iscrowd": 0}
    ids = {"id": number, "image_id": image, "category_id": category}
    return ids | box | {"segmentation": [RECTANGLE]} | fields


def image(number: int = 5, name: str = "a.jpg", **fields: Any) -> dict:
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH} | fields


def write(file: Path, annotations: list, images: list | None = None, categories=None) -> Path:
    """A JSON file of COCO's format."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {"images": [image()] if images is None else images, "annotations": annotations}
    data["categories"] = CATEGORIES if categories is None else categories
    file.write_text(json.dumps(data))
    return file


def folder(root: Path, annotations: list | None = None, images: list | None = None, **fields):
    """A folder with `images`, one for every name, and `result.json`."""
    images = [image()] if images is None else images
    for name in {entry.get("file_name") for entry in images if isinstance(entry, dict)}:
        photo(root / "images" / Path(str(name)).name, (HEIGHT, WIDTH))
    annotations = [annotation()] if annotations is None else annotations
    write(root / "result.json", annotations, images, **fields)
    return root


def make(root: Path, kind: str = "coco", **fields):
    return make_detection_source(kind, root=str(root), **fields)
