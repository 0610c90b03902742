"""Sources of images with label maps: which class each pixel is of.

Random access and picklable, as `common.data.sources`; images stay encoded, label maps are decoded
to class indices.
"""

import concurrent.futures
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np

from common.data.class_lists import (
    IGNORED,
    ClassList,
    ade20k_classes,
    cityscapes_classes,
    class_list_of,
    class_lists_in,
    distinct_colours,
    read_class_list,
    voc_classes,
)
from common.data.held_out import check_part, part_by_name
from common.data.image_files import checked_size, is_turned, raise_problems, read_content
from common.data.images import CorruptImage
from common.data.label_map_files import label_map_size, read_label_map
from common.data.label_map_layouts import (
    LAYOUTS,
    TRAIN_IDS_ENDING,
    FoundLabelMaps,
    find_label_maps,
    find_own,
    find_voc,
    is_voc,
    real_root,
    refuse_brush_labels,
)
from common.errors import UserError, did_you_mean

KINDS = ("ade20k", "voc", "cityscapes", "coco", "folder", "shapes", "coins")
_UNREADABLE = "unreadable file"
_UNFIT = "label map that does not fit its classes"
_SIZES = "label map of another size than its image"
_BLACK_AND_WHITE = (
    "label map of 0 and 255 alone, where 255 is ignored; if it is a class, give colours "
    "in {file}, such as 'background 0 0 0' and 'thing 255 255 255'"
)
_TRIED = 16  # label maps that a check reads whole: mistakes in all of them show before training


class LabelMapExample(TypedDict):
    """An image with the class of each pixel.

    Attributes:
      image: content of an image file, or pixels as `common.data.images.decode` takes them.
      label_map: uint8 `[height, width]`: class indices, 255 for ignored pixels.
      name: path below the root, or an id: unique, and the same wherever the data lies.
    """

    image: bytes | np.ndarray
    label_map: np.ndarray
    name: str


class LabelMapSource(Protocol):
    """Random access; `source[i]` raises CorruptImage for an example that can't be read.

    Attributes:
      class_names: one per class.
      palette: uint8 `[classes, 3]`, RGB: how to draw them.
    """

    class_names: list[str]
    palette: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LabelMapExample: ...

    def name(self, index: int) -> str:
        """Returns the example's name without reading it."""
        ...

    def check(self, max_corrupt: int = 0) -> None:
        """Raises UserError for files that can't be used, naming the first; see LabelMapFiles."""
        ...


def make_label_map_source(
    kind: str,
    *,
    root: str = "",
    split: str = "train",
    train_split: str = "train",
    holdout: float = 0.0,
    classes: str = "",
    count: int = 0,
    size: int = 0,
    max_corrupt: int = 0,
    check: bool = True,
) -> LabelMapSource:
    """Makes a source from the fields of a configuration, and checks its files.

    One's own data without split folders is the same for every split, or with `holdout` divided by a
    hash of the images' names: adding images moves none to another part (unless one was so small
    that it would have been empty, and got one image).

    Args:
      kind: "ade20k" (ADEChallengeData2016), "voc" (Pascal VOC; any folder in its layout, with
        `labelmap.txt` for other classes), "cityscapes", "coco" (outlines in COCO's JSON), "folder"
        (one's own: `images` and `masks` with `classes.txt` or `labelmap.txt`, or what CVAT exports
        as "Segmentation mask 1.1" or "COCO 1.0", and Label Studio as "COCO"), "shapes" (drawn
        scenes) or "coins" (a photo of scikit-image); the last two need no `root`.
      root: folder of the data set.
      split: "train", "val", or what the data calls its splits. Whatever isn't `train_split` is the
        held-out part of shapes, coins and data without splits, by any usual name.
      train_split: what `split` is called for training.
      holdout: share of one's own data that other splits get where it has no splits, in [0, 1).
      classes: file that lists the classes of one's own data; "" is `classes.txt` or `labelmap.txt`
        in `root`.
      count: of shapes: how many scenes; 0: 2,000 for training, 200 otherwise.
      size: of shapes: side in pixels; 0: 128.
      max_corrupt: files that can't be used and that the check lets pass.
      check: look at every file's header before returning.

    Raises:
      UserError: an unknown kind or split, missing data, or files that fail the check.
    """
    if kind not in KINDS:
        raise UserError(f"unknown data source {kind!r}; {did_you_mean(kind, KINDS)}")
    if kind in ("shapes", "coins"):
        check_part(split, train_split, kind)
        return _own_pictures(kind, "train" if split == train_split else "test", count, size)
    if not root:
        raise UserError(f"data source {kind!r} needs root, which is empty; set it")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"no folder {root!r}; give the one that holds the data set")
    if classes and (kind in LAYOUTS or kind == "coco"):
        raise UserError(f"classes={classes!r} has no use: those of {kind!r} are known; remove it")
    if kind in LAYOUTS:
        source = _public(kind, folder, split)
    elif kind == "coco" or (kind == "folder" and _has_outlines(folder, classes)):
        source = _of_objects(root, split, train_split, holdout)
    else:
        source = _ones_own(kind, folder, split, train_split, holdout, classes)
    if check:
        source.check(max_corrupt)
    if not len(source):
        raise UserError(f"no image with a label map in {folder} for split {split!r}; add some")
    return source


def _own_pictures(kind: str, part: str, count: int, size: int) -> LabelMapSource:
    if kind == "coins":
        from common.data.coins import coins_source

        return coins_source(part)
    from common.data.shapes import shapes_source

    return shapes_source(part, count=count or None, size=size or 128)


def _of_objects(root: str, split: str, train_split: str, holdout: float) -> LabelMapSource:
    from common.data.coco_label_maps import ObjectLabelMaps
    from common.data.detection import make_detection_source

    part = {"split": split, "train_split": train_split, "holdout": holdout}
    return ObjectLabelMaps(make_detection_source("coco", root=root, **part, check=False))


def _public(kind: str, folder: Path, split: str) -> "LabelMapFiles":
    layout = LAYOUTS[kind]
    folder = real_root(folder, layout.inside, layout.images.split("/")[0])
    found, ending = find_label_maps(layout, folder, split)
    if kind == "ade20k":
        classes = ade20k_classes(_ade20k_names(folder / "objectInfo150.txt"))
    else:
        classes = cityscapes_classes(train_ids=ending == TRAIN_IDS_ENDING)
    return LabelMapFiles(found, folder, classes)


def _ade20k_names(file: Path) -> list[str]:
    """The first name of each class, or none if the file isn't there or isn't as expected."""
    try:
        rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()[1:]]
    except (OSError, UnicodeDecodeError):
        return []
    names = [row[4].split(",")[0].strip() for row in rows if len(row) == 5]
    return names if len(names) == len(set(names)) == 150 else []


def _has_outlines(folder: Path, classes: str) -> bool:
    """Whether one's own data are outlines, not label maps, which have a list of classes beside."""
    from common.data.coco_annotations import is_coco

    return is_coco(folder) and not (classes or class_lists_in(folder))


def _ones_own(
    kind: str, folder: Path, split: str, train_split: str, holdout: float, classes: str
) -> "LabelMapFiles":
    if kind == "voc" or is_voc(folder):
        folder, found = find_voc(folder, split, train_split)
        file = Path(classes).expanduser() if classes else folder / "labelmap.txt"
        if classes or file.is_file() or kind == "folder":
            class_list = read_class_list(class_list_of(folder, classes))
        else:
            class_list = voc_classes()
    else:
        refuse_brush_labels(folder)
        class_list = read_class_list(class_list_of(folder, classes))
        found = find_own(folder, split, train_split)
    if not found.has_splits:
        check_part(split, train_split, str(folder))
        if len(found.images) > 1 or not found.problems:  # these are told by the check
            found = _part_of(found, holdout, training=split == train_split)
    return LabelMapFiles(found, folder, class_list)


def _part_of(found: FoundLabelMaps, holdout: float, *, training: bool) -> FoundLabelMaps:
    keep = part_by_name(found.images, holdout, training=training)
    images, label_maps = ([paths[i] for i in keep] for paths in (found.images, found.label_maps))
    return found._replace(images=images, label_maps=label_maps)


class LabelMapArrays:
    """Images and label maps in memory.

    Args:
      images: uint8 `[height, width, 3]`, or the content of a file, each.
      label_maps: uint8 `[height, width]` each: class indices, 255 for ignored pixels.
      names: one for each.
      class_names: one per class.
      palette: uint8 `[classes, 3]`; None: distinct colours.

    Raises:
      UserError: lengths that differ, or a label that no class has.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray | bytes],
        label_maps: Sequence[np.ndarray],
        names: Sequence[str],
        class_names: Sequence[str],
        palette: np.ndarray | None = None,
    ):
        if not len(images) == len(label_maps) == len(names):
            raise UserError(
                f"{len(images)} images, {len(label_maps)} label maps and {len(names)} names; "
                "give one each"
            )
        for name, label_map in zip(names, label_maps, strict=True):
            values = np.unique(label_map)
            odd = values[(values >= len(class_names)) & (values != IGNORED)]
            if odd.size:
                raise UserError(f"{name} has the label {odd[0]}, of {len(class_names)} classes")
        self._images, self._label_maps, self._names = images, label_maps, names
        self.class_names = list(class_names)
        self.palette = distinct_colours(len(class_names)) if palette is None else palette

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> LabelMapExample:
        image, label_map = self._images[index], self._label_maps[index]
        return {"image": image, "label_map": label_map, "name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns the example's name."""
        return self._names[index]

    def check(self, max_corrupt: int = 0) -> None:
        """Does nothing: there are no files."""


class LabelMapFiles:
    """Image files with label maps as image files.

    Args:
      found: their paths below the root, and what was wrong with others.
      root: the folder.
      classes: what label maps hold.
    """

    def __init__(self, found: FoundLabelMaps, root: str | os.PathLike[str], classes: ClassList):
        # Fixed-width bytes: lists of a million strings would cost each worker much more memory.
        self._images = np.array([os.fsencode(path) for path in found.images])
        self._label_maps = np.array([os.fsencode(path) for path in found.label_maps])
        self._root, self._classes, self._problems = Path(root), classes, dict(found.problems)
        self.class_names, self.palette = list(classes.names), classes.palette

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> LabelMapExample:
        image = read_content(self._path(self._images, index))
        return {"image": image, "label_map": self._label_map(index), "name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns the image's path below the root."""
        return os.fsdecode(self._images[index])

    def _label_map(self, index: int) -> np.ndarray:
        path = self._path(self._label_maps, index)
        data = read_content(path)
        try:
            return read_label_map(data, self._classes)
        except CorruptImage as error:
            raise CorruptImage(f"label map {path}: {error}") from error

    def _path(self, paths: np.ndarray, index: int) -> Path:
        return self._root / os.fsdecode(paths[index])

    def problems(self) -> dict[str, list[str]]:
        """Looks at header and end of every file, and reads a few label maps, evenly chosen.

        Returns:
          Kind of problem -> files: those without a partner, of one name, unreadable, of another
          size than their partner, or with unknown values or colours. Empty when all is well.
        """
        found = {kind: list(files) for kind, files in self._problems.items()}
        images = [self._path(self._images, i) for i in range(len(self))]
        label_maps = [self._path(self._label_maps, i) for i in range(len(self))]
        step = max(1, len(self) / _TRIED)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            image_sizes = [*pool.map(checked_size, images)]
            label_map_sizes = [*pool.map(label_map_size, label_maps)]
            tried = [int(i * step) for i in range(min(_TRIED, len(self)))]
            tried = [i for i in tried if not isinstance(label_map_sizes[i], str)]
            values = [*pool.map(self._values, tried)]
        sizes = [*zip(images, image_sizes, strict=True)]
        sizes += zip(label_maps, label_map_sizes, strict=True)
        found[_UNREADABLE] = [f"{path} ({size})" for path, size in sizes if isinstance(size, str)]
        found[_UNFIT] = [value for value in values if isinstance(value, str)]
        found[_SIZES] = []
        for image, a, label_map, b in zip(
            images, image_sizes, label_maps, label_map_sizes, strict=True
        ):
            if not isinstance(a, str) and not isinstance(b, str) and a != b:
                found[_SIZES].append(_other_size(image, a, label_map, b))
        seen = set().union(*(value for value in values if isinstance(value, set)))
        if seen == {0, IGNORED} and not self._classes.of_colour and self._black_and_white():
            found[_BLACK_AND_WHITE.format(file=self._classes.file)] = [
                str(label_maps[i]) for i in tried
            ]
        return {kind: files for kind, files in found.items() if files}

    def _values(self, index: int) -> str | set[int]:
        """The classes in a label map, or why there are none."""
        try:
            return set(np.unique(self._label_map(index)).tolist())
        except CorruptImage as error:
            return str(error).removeprefix("label map ")

    def _black_and_white(self) -> bool:
        """Whether no label map has other values: meant as two classes, they would teach one."""
        values = (self._values(i) for i in range(len(self)))
        return not any(isinstance(value, set) and value - {0, IGNORED} for value in values)

    def check(self, max_corrupt: int = 0) -> None:
        """Makes sure that nothing is missing, unreadable or of the wrong size, as headers tell.

        Args:
          max_corrupt: files that are let pass although they can't be read.

        Raises:
          UserError: counts the problems of each kind and names the first files.
        """
        found = self.problems()
        if sum(len(found.get(kind, ())) for kind in (_UNREADABLE, _UNFIT)) <= max_corrupt:
            found.pop(_UNREADABLE, None)
            found.pop(_UNFIT, None)
        raise_problems("images and label maps don't fit", found)


def _other_size(image: Path, size: tuple[int, int], label_map: Path, other: tuple[int, int]) -> str:
    text = f"{image} is {size[1]}x{size[0]}, {label_map} is {other[1]}x{other[0]}"
    if other == size[::-1] and is_turned(image):
        text += " (EXIF turns the image, the label map was drawn on it unturned)"
    return text
