"""Pascal VOC's annotations: an XML file per image.

Layout and coordinates as the development kit has them, from memory; CVAT's exports as its public
code writes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from common.data.class_lists import read_class_list
from common.data.detection_files import (
    MISSING,
    SEVERAL,
    UNREADABLE,
    Annotated,
    with_sizes,
)
from common.data.detection_objects import ImageEntry
from common.data.held_out import split_names
from common.data.label_map_layouts import VOC_IMAGES, real_root, split_list
from common.data.pair_layouts import image_paths
from common.errors import UserError, did_you_mean

NO_XML = "image without XML file"
BAD_XML = "unreadable XML file"
_INSIDE = ("VOCdevkit/VOC2012", "VOCdevkit/VOC2007")
_ANNOTATIONS, _LISTS = "Annotations", "ImageSets/Main"
# Folders of XML files and of images: VOC's own, and what supervision and others write.
_PAIRS = ((_ANNOTATIONS, VOC_IMAGES), ("annotations", "images"))
_LABELMAP = "labelmap.txt"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str | None
    corners: list[float] | None
    difficult: bool


class _Page(NamedTuple):
    size: tuple[int, int]  # height and width, 0 where they aren't given
    objects: list[_Object]


class _Chosen(NamedTuple):
    listed: list[str] | None
    folder: str
    has_splits: bool


def voc_annotations(root: Path, split: str, train_split: str) -> Annotated:
    """Reads the XML files in `Annotations`, of the images in `JPEGImages`.

    These may also be called `annotations` and `images`. `ImageSets/Main/<split>.txt` lists the
    images of a split, as for label maps. Without these folders XML files lie beside the images, in
    `root` or in a folder per split. Classes are those of `labelmap.txt` or `classes.txt` in `root`,
    else all names in the XML files, sorted: for VOC itself its 20. VOC counts pixels from 1, and
    the last ones are inside; where there is CVAT's `labelmap.txt`, or a coordinate is below 1, all
    are counted from 0. Difficult objects are crowds.

    Args:
      root: the folder, or the one above `VOCdevkit`.
      split: a list or folder, or a part by name where there are none.
      train_split: what the training split is called.

    Raises:
      UserError: missing folders, an unknown split, or classes that can't be read.
    """
    for inside in _INSIDE:
        root = real_root(root, inside, _ANNOTATIONS)
    folder, images, chosen = _places(root, split, train_split)
    files = {_name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.xml"))}
    if not files:
        raise UserError(f"no XML files in {folder}; expected {_ANNOTATIONS} and {VOC_IMAGES}")
    paths_of: dict[str, list[str]] = {}
    for path in image_paths(images):
        paths_of.setdefault(_name(Path(path)), []).append(path)
    names = chosen.listed
    if names is None:
        names = sorted(name for name in {*paths_of, *files} if name.startswith(chosen.folder))
    unusable: dict[str, list[str]] = {kind: [] for kind in (MISSING, SEVERAL, BAD_XML, UNREADABLE)}
    pages: dict[str, _Page] = {}
    for name, file in files.items():  # all of them: every split has the same classes
        try:
            pages[name] = _page(file)
        except (ElementTree.ParseError, OSError, ValueError) as error:
            if name in names:
                unusable[BAD_XML].append(f"{file} ({error})")
    entries = []
    for name in names:
        paths = paths_of.get(name, [])
        if name in pages and len(paths) == 1:
            size = pages[name].size
            entries.append(ImageEntry(len(entries) + 1, paths[0], paths[0], *size))
        elif name in pages:
            what = ", ".join(paths) or str(images / name)
            unusable[SEVERAL if paths else MISSING].append(what)
    entries = with_sizes(images, entries, unusable[UNREADABLE])
    categories = _categories(root, pages)
    first = 0 if (root / _LABELMAP).is_file() or _any_below_one(pages) else 1
    without = sum(name not in files for name in names)
    return Annotated(
        where=str(folder),
        root=images,
        images=entries,
        annotations=_annotations(entries, pages, categories, first),
        categories=categories,
        unusable=unusable,
        problems={NO_XML: without} if without else {},
        has_splits=chosen.has_splits,
    )


def _places(root: Path, split: str, train_split: str) -> tuple[Path, Path, _Chosen]:
    """Folders of the XML files and of the images, and which of these are the split's."""
    for annotations, images in _PAIRS:
        if not (root / annotations).is_dir():
            continue
        if not (root / images).is_dir():
            raise UserError(f"no folder {root / images}; put the images there")
        file, has_splits = split_list(root / _LISTS, split, train_split)
        chosen = _Chosen(_listed(file) if file else None, "", has_splits)
        return root / annotations, root / images, chosen
    if not (root / train_split).is_dir():
        return root, root, _Chosen(None, "", False)
    folders = [name for name in split_names(split) if (root / name).is_dir()]
    if not folders:
        there = [entry.name for entry in root.iterdir() if entry.is_dir()]
        raise UserError(f"no folder {split!r} in {root}; {did_you_mean(split, there)}")
    return root, root, _Chosen(None, f"{folders[0]}/", True)


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _listed(file: Path) -> list[str]:
    """Names in a list; CVAT quotes those with spaces, lists of one class end in 1, 0 or -1."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read: {error}; it lists the images of a split") from error
    names = []
    for line in filter(None, map(str.strip, lines)):
        name, _, last = line.rpartition(" ")
        names.append((name.strip() if name and last in ("-1", "0", "1") else line).strip('"'))
    return names


class _Plain(ElementTree.TreeBuilder):
    """Refuses what could make a small file large, or name others: entities need a DOCTYPE."""

    def doctype(self, name: str, public: str, system: str) -> None:
        raise ValueError("it has a DOCTYPE, which annotations don't need; remove it")


def _page(file: Path) -> _Page:
    tree = ElementTree.parse(file, ElementTree.XMLParser(target=_Plain()))
    sides = [tree.findtext(f"size/{side}", "").strip() for side in ("height", "width")]
    known = all(side.isdecimal() and 0 < int(side) < 2**31 for side in sides)
    objects = []
    for element in tree.getroot().findall("object"):
        name, difficult = element.findtext("name"), element.findtext("difficult")
        objects.append(_Object(name and name.strip(), _corners(element), difficult == "1"))
    return _Page((int(sides[0]), int(sides[1])) if known else (0, 0), objects)


def _corners(element: ElementTree.Element) -> list[float] | None:
    try:
        return [float(element.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
    except (TypeError, ValueError):
        return None


def _categories(root: Path, pages: Mapping[str, _Page]) -> dict[int, str]:
    """Name of every category, their ids counted from 1."""
    lists = [file for name in (_LABELMAP, "classes.txt") if (file := root / name).is_file()]
    if lists:
        names = [name for name in read_class_list(lists[0]).names if name != "background"]
    else:
        names = sorted({row.name for page in pages.values() for row in page.objects if row.name})
    return dict(enumerate(names, 1))


def _any_below_one(pages: Mapping[str, _Page]) -> bool:
    corners = [row.corners for page in pages.values() for row in page.objects if row.corners]
    return any(min(corner[:2]) < 1 for corner in corners)


def _annotations(
    images: Sequence[ImageEntry],
    pages: Mapping[str, _Page],
    categories: Mapping[int, str],
    first: int,
) -> list[dict[str, Any]]:
    """Objects as COCO's JSON has them; `first` is the number of the first pixel."""
    number_of = {name: number for number, name in categories.items()}
    annotations = []
    for image in images:
        for row in pages[_name(Path(image.path))].objects:
            bbox = None
            if row.corners:
                left, top, right, bottom = row.corners
                bbox = [left - first, top - first, right - left + first, bottom - top + first]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": number_of.get(row.name),
                    "bbox": bbox,
                    "iscrowd": int(row.difficult),
                }
            )
    return annotations
