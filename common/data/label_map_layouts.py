"""Where images and label maps of public data sets lie, as data; and finding them.

Layouts are those of the data sets' own downloads, from memory; VOC's lists in their several forms
as public code reads them, CVAT's export ("Segmentation mask 1.1") as its documentation has it.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.data.label_map_files import LABEL_MAP_SUFFIXES
from common.data.pair_layouts import image_paths
from common.errors import UserError, did_you_mean

NO_LABEL_MAP = "image without label map"
NO_IMAGE = "label map without image"
NOT_UNIQUE = "several images of one name"
LABEL_MAPS_NOT_UNIQUE = "several label maps of one name"
LOSSY = "label map that is no PNG, BMP or TIFF, which keep every value"
_MISSING = "listed file that is missing"


class FoundLabelMaps(NamedTuple):
    """What a search found.

    Attributes:
      images: paths below the root.
      label_maps: as many, below the root.
      problems: kind of problem -> paths, such as images without label map.
      has_splits: whether the split chose the files.
    """

    images: list[str]
    label_maps: list[str]
    problems: dict[str, list[str]]
    has_splits: bool


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a data set with split folders arranges images and label maps, which agree in the rest.

    Attributes:
      images: folder below the root; `{split}` is the split's.
      label_maps: the same.
      splits: names that a split may be called by -> its folder.
      image_ending: how the names of images end, before the suffix.
      label_endings: the same of label maps; the first that is found counts.
      inside: the folder that the download unpacks to, if `root` is one above.
    """

    images: str
    label_maps: str
    splits: Mapping[str, str]
    image_ending: str = ""
    label_endings: tuple[str, ...] = ("",)
    inside: str = ""


TRAIN_IDS_ENDING = "_gtFine_labelTrainIds"
LAYOUTS = {
    "ade20k": Layout(
        "images/{split}",
        "annotations/{split}",
        splits={
            "train": "training",
            "training": "training",
            "eval": "validation",
            "val": "validation",
            "validation": "validation",
        },
        inside="ADEChallengeData2016",
    ),
    "cityscapes": Layout(
        "leftImg8bit/{split}",
        "gtFine/{split}",
        splits={
            "train": "train",
            "eval": "val",
            "val": "val",
            "validation": "val",
            "test": "test",
        },
        image_ending="_leftImg8bit",
        label_endings=("_gtFine_labelIds", TRAIN_IDS_ENDING),
    ),
}
_VOC_INSIDE = "VOCdevkit/VOC2012"
VOC_IMAGES, VOC_LABEL_MAPS = "JPEGImages", "SegmentationClass"
_VOC_LISTS = "ImageSets/Segmentation"
# Label Studio's file of one label in one image, which is known by its task's number alone.
_BRUSH_LABEL = re.compile(r"task-\d+-annotation-\d+-by-.*-\d+\.(png|npy)")


def real_root(root: Path, inside: str, needed: str) -> Path:
    """Returns `root`, or the folder `inside` it if that has what is needed."""
    return root / inside if not (root / needed).is_dir() and (root / inside).is_dir() else root


def find_label_maps(layout: Layout, root: Path, split: str) -> tuple[FoundLabelMaps, str]:
    """Finds one split of a public data set.

    Args:
      layout: how it is arranged.
      root: its folder.
      split: one of `layout.splits`.

    Returns:
      The files, and how the names of the label maps end.

    Raises:
      UserError: an unknown split, or nothing there; the message says what was expected.
    """
    if split not in layout.splits:
        raise UserError(f"no split {split!r} in {root}; {did_you_mean(split, layout.splits)}")
    folder = layout.splits[split]
    images, label_maps = (part.format(split=folder) for part in (layout.images, layout.label_maps))
    for place in (images, label_maps):
        if not (root / place).is_dir():
            raise UserError(
                f"no folder {root / place}; expected images in {images} and label maps in "
                f"{label_maps} below root"
            )
    for ending in layout.label_endings:
        found = match_folders(root, images, label_maps, layout.image_ending, ending)
        if found.images:
            return found._replace(has_splits=True), ending
    names = " or ".join(f"*{ending}.png" for ending in layout.label_endings)
    raise UserError(
        f"no images in {root / images} with label maps in {root / label_maps}; expected "
        f"*{layout.image_ending}.jpg or .png, and {names}, alike but for these endings"
    )


def find_own(root: Path, split: str, train_split: str) -> FoundLabelMaps:
    """Finds one's own images and label maps, in folders `images` and `masks`.

    They are in `root` itself, in a folder per split, or have a folder per split in them.

    Args:
      root: folder of the data.
      split: which part; all of them where there are no split folders.
      train_split: what the training split is called.

    Raises:
      UserError: there are none, or not this split; the message says what was expected.
    """
    for pattern in ("{split}/images", "images/{split}"):
        images, label_maps = pattern, pattern.replace("images", "masks")
        place = root / images.format(split=split).strip("/")
        if (root / images.format(split=train_split)).is_dir():
            if not place.is_dir():
                parent = Path(pattern.split("{split}")[0])
                splits = [
                    entry.name
                    for entry in (root / parent).iterdir()
                    if (root / images.format(split=entry.name)).is_dir()
                ]
                raise UserError(f"no split {split!r} in {root}; {did_you_mean(split, splits)}")
            parts = images.format(split=split), label_maps.format(split=split)
            return _some(root, *parts)._replace(has_splits=True)
        if split and place.is_dir():  # training would take its images too
            raise UserError(
                f"{root} has {images.format(split=split)} but no "
                f"{images.format(split=train_split)}; add it, or name another as train_split"
            )
    return _some(root, "images", "masks")


def refuse_brush_labels(root: Path) -> None:
    """Raises UserError for an export of Label Studio that doesn't say what its masks are of."""
    for place in (root, root / "masks"):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if _BRUSH_LABEL.fullmatch(file.name):
                raise UserError(
                    f"{file} is of Label Studio's export of brush labels to PNG or NumPy, where"
                    " names of files don't say which image they are of; export 'Brush labels to"
                    " COCO' instead, and put the images into the folder 'images' of that"
                )


def _some(root: Path, images: str, label_maps: str) -> FoundLabelMaps:
    for place in (images, label_maps):
        if not (root / place).is_dir():
            parent = (root / place).parent
            parent = parent if parent.is_dir() else root
            there = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
            raise UserError(
                f"no folder {root / place}; put photos into {images} and label maps of the same "
                f"names into {label_maps}; there are {', '.join(there[:5]) or 'no folders'}"
            )
    found = match_folders(root, images, label_maps)
    if not (found.images or found.problems):
        raise UserError(f"no images in {root / images}; put photos there")
    return found


def match_folders(
    root: Path, images: str, label_maps: str, image_ending: str = "", label_ending: str = ""
) -> FoundLabelMaps:
    """Pairs images with the label maps of the same path but for endings and suffix.

    Args:
      root: what paths are relative to.
      images: folder below it, searched with the folders in it.
      label_maps: the same.
      image_ending: other files are left alone.
      label_ending: likewise.
    """
    image_of, again = _by_name(root, images, image_ending)
    label_of, label_again = _by_name(root, label_maps, label_ending, LABEL_MAP_SUFFIXES)
    lossy = [
        path
        for path in image_paths(root, label_maps)
        if not path.lower().endswith(LABEL_MAP_SUFFIXES)
    ]
    excused = {_name(path, label_maps, label_ending) for path in lossy}
    problems = {
        NO_LABEL_MAP: [image_of[n] for n in image_of if n not in label_of and n not in excused],
        NO_IMAGE: [label_of[name] for name in label_of if name not in image_of],
        NOT_UNIQUE: again,
        LABEL_MAPS_NOT_UNIQUE: label_again,
        LOSSY: lossy,
    }
    names = [name for name in image_of if name in label_of]
    return FoundLabelMaps(
        [image_of[name] for name in names],
        [label_of[name] for name in names],
        _full(root, problems),
        has_splits=False,
    )


def _by_name(
    root: Path, folder: str, ending: str, suffixes: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Name below the folder, without ending and suffix -> path; and paths of names seen before."""
    path_of: dict[str, str] = {}
    again = []
    for path in image_paths(root, folder):
        stem, suffix = os.path.splitext(path)
        if not stem.endswith(ending) or (suffixes and suffix.lower() not in suffixes):
            continue
        name = _name(path, folder, ending)
        if name in path_of:
            again.append(f"{path_of[name]} and {os.path.basename(path)}")
        else:
            path_of[name] = path
    return path_of, again


def _name(path: str, folder: str, ending: str) -> str:
    return os.path.relpath(os.path.splitext(path)[0].removesuffix(ending), folder)


def _full(root: Path, problems: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {kind: [str(root / path) for path in paths] for kind, paths in problems.items() if paths}


def is_voc(root: Path) -> bool:
    """Whether a folder looks like Pascal VOC's, or like CVAT's export of label maps."""
    return (real_root(root, _VOC_INSIDE, VOC_LABEL_MAPS) / VOC_LABEL_MAPS).is_dir()


def find_voc(root: Path, split: str, train_split: str) -> tuple[Path, FoundLabelMaps]:
    """Finds one split of a folder in Pascal VOC's layout.

    `ImageSets/Segmentation/<split>.txt` lists names, or paths of image and label map; the label
    maps of a list with "aug" in its name lie in `SegmentationClassAug`. Without lists, or with
    CVAT's `default.txt` alone, all images belong to every split.

    Args:
      root: the folder, or the one above `VOCdevkit`.
      split: name of a list, in small or capital letters; "eval", "val" and "validation" are one.
      train_split: what the training split is called; its list may also be called "train".

    Returns:
      The folder that paths are relative to, and the files.

    Raises:
      UserError: missing folders, an unknown split, or a list that is empty or can't be read.
    """
    root = real_root(root, _VOC_INSIDE, VOC_LABEL_MAPS)
    if not (root / VOC_IMAGES).is_dir():
        raise UserError(
            f"no folder {root / VOC_IMAGES}; put the images there (in CVAT: export again with "
            "'Save images')"
        )
    file, has_splits = split_list(root / _VOC_LISTS, split, train_split)
    if file is None:
        if not (root / VOC_LABEL_MAPS).is_dir():
            raise UserError(f"no folder {root / VOC_LABEL_MAPS}; it holds the label maps")
        return root, match_folders(root, VOC_IMAGES, VOC_LABEL_MAPS)
    return root, _listed(root, file)._replace(has_splits=has_splits)


def split_list(folder: Path, split: str, train_split: str) -> tuple[Path | None, bool]:
    """Finds the file in which Pascal VOC's layout lists the images of a split.

    Args:
      folder: of the lists, which need not exist.
      split: as for `find_voc`.
      train_split: likewise.

    Returns:
      The file, None where there are no lists; and whether the split chose it, which it doesn't
      where CVAT's `default.txt` is all there is.

    Raises:
      UserError: there are lists, but none of the split.
    """
    lists = {file.stem: file for file in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    if set(lists) <= {"default"}:
        return lists.get("default"), False
    alike = {"eval", "val", "validation"}
    wanted = alike if split.lower() in alike else {split.lower()}
    if split == train_split and split not in lists:
        wanted = wanted | {"train"}
    options = [name for name in lists if name.lower() in wanted]
    if not options:
        raise UserError(f"no list {split}.txt in {folder}; {did_you_mean(split, lists)}")
    return lists[split if split in options else options[0]], True


def _listed(root: Path, file: Path) -> FoundLabelMaps:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read: {error}; it lists the images of a split") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{file} is empty; it lists the images of a split")
    image_of, again = _by_name(root, VOC_IMAGES, "")
    folder = VOC_LABEL_MAPS + ("Aug" if "aug" in file.stem.lower() else "")
    images, label_maps, missing = [], [], []
    for number, row in rows:
        # CVAT's names may have spaces; paths of two files start at the root.
        if len(row) == 2 and all(os.path.splitext(path)[1] for path in row):
            image, label_map = (path.lstrip("/") for path in row)
        else:
            name = lines[number - 1].strip()
            image = image_of.get(name, f"{VOC_IMAGES}/{name}.jpg")
            label_map = f"{folder}/{name}.png"
        gone = [path for path in (image, label_map) if not (root / path).is_file()]
        missing += gone
        if not gone:
            images.append(image)
            label_maps.append(label_map)
    if again:
        used = set(images)
        again = [text for text in again if text.split(" and ")[0] in used]
    problems = {_MISSING: missing, NOT_UNIQUE: again}
    return FoundLabelMaps(images, label_maps, _full(root, problems), has_splits=False)
