"""YOLO's annotations: a text file per image, numbers in shares of its sides.

Layouts are those of Ultralytics' documentation and, as their public code writes them, of the
exports of CVAT, Label Studio and Roboflow.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from common.data.detection_files import MISSING, SEVERAL, UNREADABLE, Annotated, with_sizes
from common.data.detection_objects import ImageEntry
from common.data.held_out import split_names
from common.data.pair_layouts import image_paths
from common.errors import UserError, did_you_mean

BAD_TEXT = "unreadable text file"
_IMAGES, _LABELS = "images", "labels"
_OF_SPLIT = ("images/{split}", "{split}/images")
_OF_ALL = ("images", "obj_train_data", "")
_LISTS = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names")
_LARGEST_LIST = 1 << 20


def yolo_annotations(root: Path, split: str, train_split: str) -> Annotated:
    """Reads a text file per image, of the same path with `labels` for `images`, or beside it.

    A line is a class (counted from 0) and the middle, width and height of a box; or a class and the
    points of an outline, three or more. An image without a text file has no objects. Images lie in
    `images/<split>`, `<split>/images` or, without splits, in `images`. `data.yaml` (`names`),
    `classes.txt` or `obj.names` has the classes; nothing in it is run.

    Args:
      root: the folder.
      split: which; "val", "valid", "validation" and "eval" are one.
      train_split: what the training split is called.

    Raises:
      UserError: no images, an unknown split, or classes that can't be read.
    """
    folder, has_splits = _image_folder(root, split, train_split)
    categories = dict(enumerate(_class_names(root)))
    paths = image_paths(root, folder)
    if not paths:
        raise UserError(f"no images in {root / folder}; put photos there")
    unusable: dict[str, list[str]] = {kind: [] for kind in (MISSING, SEVERAL, BAD_TEXT, UNREADABLE)}
    paths_of: dict[str, list[str]] = {}
    for path in paths:
        paths_of.setdefault(_text_file(path), []).append(path)
    unusable[SEVERAL] = [" and ".join(paths) for paths in paths_of.values() if len(paths) > 1]
    labels = _text_file(f"{folder}/_").rpartition("/")[0]
    texts = sorted((root / labels).rglob("*.txt")) if labels else []
    orphans = [text for text in texts if text.relative_to(root).as_posix() not in paths_of]
    unusable[MISSING] = [f"the image of {text}" for text in orphans]
    single = [paths[0] for paths in paths_of.values() if len(paths) == 1]
    entries = [ImageEntry(number, path, path, 0, 0) for number, path in enumerate(single, 1)]
    images: list[ImageEntry] = []
    annotations: list[dict[str, Any]] = []
    for image in with_sizes(root, entries, unusable[UNREADABLE]):
        text = root / _text_file(image.path)
        try:
            lines = text.read_text("utf-8-sig").splitlines() if text.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            unusable[BAD_TEXT].append(f"{text} ({error})")
            continue
        images.append(image)
        annotations += [_annotation(line, image) for line in lines if line.strip()]
    return Annotated(
        where=str(root / labels),
        root=root,
        images=images,
        annotations=annotations,
        categories=categories,
        unusable=unusable,
        has_splits=has_splits,
    )


def _image_folder(root: Path, split: str, train_split: str) -> tuple[str, bool]:
    for pattern in _OF_SPLIT:
        folders = [pattern.replace("{split}", name) for name in split_names(split)]
        there = [folder for folder in folders if (root / folder).is_dir()]
        if there:
            return there[0], True
        before, _, after = pattern.partition("{split}")
        if (root / pattern.replace("{split}", train_split)).is_dir():
            found = [str(path.relative_to(root)) for path in root.glob(f"{before}*{after}")]
            splits = [name[len(before) : len(name) - len(after)] for name in found]
            raise UserError(f"no split {split!r} in {root}; {did_you_mean(split, splits)}")
    return next(folder for folder in _OF_ALL if (root / folder).is_dir()), False


def _text_file(image: str) -> str:
    """Path of an image's text file: `labels` stands for the last `images` in it."""
    folders = image.split("/")[:-1]
    if _IMAGES in folders:
        last = len(folders) - 1 - folders[::-1].index(_IMAGES)
        folders[last] = _LABELS
    return "/".join([*folders, Path(image).stem + ".txt"])


def _class_names(root: Path) -> list[str]:
    file = next((root / name for name in _LISTS if (root / name).is_file()), None)
    if file is None:
        raise UserError(f"no {' or '.join(_LISTS)} in {root}; it names the classes, one per line")
    try:
        if file.stat().st_size > _LARGEST_LIST:
            raise UserError(f"{file} is far too large for a list of classes; is it another file?")
        text = file.read_text("utf-8-sig")
        names = yaml.safe_load(text) if file.suffix == ".yaml" else text.splitlines()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} can't be read: {reason}; it names the classes") from error
    if file.suffix == ".yaml":
        names = names.get("names") if isinstance(names, Mapping) else None
        if isinstance(names, Mapping):
            if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
                raise UserError(f"{file}: names must be numbered 0 to {len(names) - 1}; mend it")
            names = [names[i] if i in names else names[str(i)] for i in range(len(names))]
    else:
        names = [name.strip() for name in names if name.strip()]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise UserError(f"{file} has no list 'names' of the classes; add it")
    names = [str(name) for name in names]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{file}: two classes are called {twice[0]!r}; rename one")
    return names


def _annotation(line: str, image: ImageEntry) -> dict[str, Any]:
    """A line as COCO's JSON has it; what can't be read has no box."""
    annotation: dict[str, Any] = {"image_id": image.id, "category_id": None}
    first, *rest = line.split()
    try:
        annotation["category_id"] = int(first)
        numbers = [float(text) for text in rest]
    except ValueError:
        return annotation
    sides = image.width, image.height
    if len(numbers) == 4:
        x, y, across, down = (share * sides[i % 2] for i, share in enumerate(numbers))
        annotation["bbox"] = [x - across / 2, y - down / 2, across, down]
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        outline = [share * sides[i % 2] for i, share in enumerate(numbers)]
        left, top, right, bottom = (f(outline[i::2]) for f in (min, max) for i in (0, 1))
        annotation["bbox"] = [left, top, right - left, bottom - top]
        annotation["segmentation"] = [outline]
    return annotation
