"""COCO's JSON: finding it, reading it, and finding the images that it names.

Layouts are those of COCO's download and, as their public code writes them, of the exports of CVAT,
Label Studio and Roboflow.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.data.detection_files import MISSING, SEVERAL, UNREADABLE, Annotated, with_sizes
from common.data.detection_objects import ImageEntry, is_id
from common.data.held_out import split_names
from common.data.pair_layouts import image_paths
from common.data.trailing_paths import TrailingPaths
from common.errors import UserError, did_you_mean

# Those of COCO's 80 categories; numbers between were given up before the first release.
COCO_IDS = tuple(sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))
NO_ID = "image without a whole number as id"
NO_NAME = "image without file name"
SAME_ID = "image id used again"
SAME_FILE = "image file listed again"
# Where a split's annotations are, and where its images: the first that is there.
_OF_SPLIT = (
    ("annotations/instances_{split}.json", ("{split}", "images/{split}", "images", "")),
    ("{split}/_annotations.coco.json", ("{split}",)),
    ("annotations/{split}.json", ("{split}", "images/{split}", "images", "")),
    ("{split}.json", ("{split}", "images/{split}", "images", "")),
)
_OF_ALL = (
    ("annotations/instances_default.json", ("images", "")),
    ("result.json", ("images", "")),
    ("result_coco.json", ("images", "")),
    ("_annotations.coco.json", ("",)),
)


class CocoFiles(NamedTuple):
    """Where annotations and their images are.

    Attributes:
      file: the annotations.
      images: folder that has the images, in folders or not.
      has_splits: whether the split chose the file.
    """

    file: Path
    images: Path
    has_splits: bool


def is_coco(root: Path) -> bool:
    """Whether a folder looks like an export of outlines or boxes in COCO's format."""
    return any((root / name).is_file() for name, _ in _OF_ALL)


def find_coco(
    root: Path, split: str, train_split: str, annotations: str = "", images: str = ""
) -> CocoFiles:
    """Finds the annotations of a split.

    Args:
      root: folder of the data.
      split: which; "train" is also "train2017" or "train2014", and "val", "valid", "validation" and
        "eval" are one.
      train_split: what the training split is called.
      annotations: the JSON file below `root`, in which `{split}` stands for the split; "" looks in
        all usual places.
      images: the folder of the images below `root`, likewise.

    Raises:
      UserError: no such file or folder, or several that might be meant.
    """
    if annotations:
        has_splits = "{split}" in annotations
        file = root / annotations.replace("{split}", split)
        if not file.is_file():
            raise UserError(f"no annotations {file}; give COCO's JSON, below root")
        return CocoFiles(file, _image_folder(root, images, split, ("images", ""), file), has_splits)
    for pattern, folders in _OF_SPLIT:
        for name in _names(split):
            file = root / pattern.replace("{split}", name)
            if file.is_file():
                return CocoFiles(file, _image_folder(root, images, name, folders, file), True)
    _refuse_other_split(root, split, train_split)
    there = [(root / name, folders) for name, folders in _OF_ALL if (root / name).is_file()]
    if not there:
        usual = ("images", "")
        there = [(f, usual) for place in (root, root / "annotations") for f in place.glob("*.json")]
    if len(there) != 1:
        names = sorted(str(file.relative_to(root)) for file, _ in there)
        found = f"several: {', '.join(names[:5])}; name one" if names else "none; name it"
        raise UserError(
            f"of annotations/instances_{split}.json and other usual places of COCO's JSON in "
            f"{root} there is {found} as annotations"
        )
    file, folders = there[0]
    return CocoFiles(file, _image_folder(root, images, split, folders, file), False)


def _names(split: str) -> list[str]:
    return [name + year for name in split_names(split) for year in ("", "2017", "2014") if split]


def _refuse_other_split(root: Path, split: str, train_split: str) -> None:
    """A split that others are there instead of is not the held-out part of one file."""
    for pattern, _ in _OF_SPLIT:
        before, _, after = pattern.partition("{split}")
        if any((root / pattern.replace("{split}", n)).is_file() for n in _names(train_split)):
            files = root.glob(f"{before}*{after}")
            splits = [str(f.relative_to(root))[len(before) : -len(after) or None] for f in files]
            raise UserError(f"no split {split!r} in {root}; {did_you_mean(split, splits)}")


def _image_folder(root: Path, images: str, split: str, folders: Sequence[str], file: Path) -> Path:
    tried = [images] if images else folders
    places = [root / folder.replace("{split}", split) for folder in tried]
    if not images:
        places.append(file.parent)
    for place in places:
        if place.is_dir() and image_paths(place):
            return place
    raise UserError(
        f"no images in {places[0]}, which {file} belongs to; put them there, or name their"
        " folder as images"
    )


def read_coco(file: Path) -> dict[str, Any]:
    """Returns a file of COCO's format: lists `images`, `annotations` and `categories`.

    Raises:
      UserError: it can't be read, is no JSON, or has other contents.
    """
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}); export it again") from error
    needed = ("images", "annotations", "categories")
    if not isinstance(data, dict):
        raise UserError(f"{file} is a list, not COCO's format; export it as COCO")
    for key in needed:
        if not isinstance(data.get(key), list):
            there = ", ".join(map(str, [*data][:5])) or "nothing"
            raise UserError(f"{file} is not COCO's format: no list {key!r}, it has {there}")
    for key in ("images", "categories"):
        if not data[key]:
            raise UserError(f"{file} has no {key}; export it with them")
    return data


def coco_annotations(files: CocoFiles) -> Annotated:
    """Reads annotations and finds their images.

    Names of files are compared from their ends, since tools write other folders or URLs in front.

    Raises:
      UserError: as `read_coco`; categories that can't be told apart.
    """
    data = read_coco(files.file)
    categories = _categories(data, files.file)
    entries, problems = _listed_images(data["images"])
    there = TrailingPaths(image_paths(files.images))
    unusable: dict[str, list[str]] = {MISSING: [], SEVERAL: [], UNREADABLE: []}
    listed_of: dict[str, list[ImageEntry]] = {}
    for entry in entries:
        paths = there.find(entry.file_name)
        if len(paths) == 1:
            listed_of.setdefault(paths[0], []).append(entry._replace(path=paths[0]))
        elif paths:
            unusable[SEVERAL].append(f"{entry.file_name} ({', '.join(paths[:3])})")
        else:
            unusable[MISSING].append(f"{files.images / entry.file_name}")
    images = []
    for listed in listed_of.values():
        if len({entry.file_name for entry in listed}) > 1:  # which of them it is isn't known
            unusable[SEVERAL] += [f"{listed[0].path} ({entry.file_name})" for entry in listed]
            continue
        images.append(listed[0])
        problems[SAME_FILE] += len(listed) - 1
    images = with_sizes(files.images, images, unusable[UNREADABLE])
    return Annotated(
        where=str(files.file),
        root=files.images,
        images=images,
        annotations=data["annotations"],
        categories=categories,
        unusable=unusable,
        problems=+problems,
        left_out=frozenset(entry.id for entry in entries) - {entry.id for entry in images},
        has_splits=files.has_splits,
    )


def _listed_images(images: Sequence[Any]) -> tuple[list[ImageEntry], Counter[str]]:
    """Entries without a path yet, their sizes 0 where they aren't given."""
    entries: dict[int, ImageEntry] = {}
    problems: Counter[str] = Counter()
    for image in images:
        image = image if isinstance(image, Mapping) else {}
        number, name = image.get("id"), image.get("file_name")
        if not is_id(number) or abs(number) >= 2**31:
            problems[NO_ID] += 1
        elif number in entries:
            problems[SAME_ID] += 1
        elif not isinstance(name, str) or not name:
            problems[NO_NAME] += 1
        else:
            height, width = (image.get(key) for key in ("height", "width"))
            known = all(is_id(side) and 0 < side < 2**31 for side in (height, width))
            entries[number] = ImageEntry(number, "", name, *((height, width) if known else (0, 0)))
    return [*entries.values()], problems


def _categories(data: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Name of every category in order of ids, without the group that Roboflow lists as one."""
    name_of: dict[int, str] = {}
    groups = set()
    for category in data["categories"]:
        number = category.get("id") if isinstance(category, Mapping) else None
        name = category.get("name") if isinstance(category, Mapping) else None
        if not is_id(number) or not isinstance(name, str):
            raise UserError(f"{file}: category {category!r} needs a whole number 'id' and a 'name'")
        if number in name_of or name in name_of.values():
            raise UserError(f"{file}: two categories have id {number} or name {name!r}; rename one")
        name_of[number] = name
        groups.add((number, category.get("supercategory")))
    for number, name in name_of.items():
        others = {group for other, group in groups if other != number}
        used = (a.get("category_id") for a in data["annotations"] if isinstance(a, Mapping))
        if others == {name} and number not in used:
            del name_of[number]
            break
    return dict(sorted(name_of.items()))
