"""Image files with objects, whatever format their annotations came in."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.detection import DetectionExample
from common.data.detection_objects import (
    ImageEntry,
    Objects,
    coco_json,
    problems_line,
    usable_objects,
)
from common.data.held_out import part_by_name
from common.data.image_files import checked_size, is_turned, raise_problems, read_content
from common.data.rle import coco_masks, segmentation_mask
from common.errors import UserError

MISSING = "missing image file"
SEVERAL = "name that several image files have"
UNREADABLE = "unreadable file"
_OTHER_SIZE = "image of another size than its annotations say"
_THREADS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotated:
    """What the reader of a format found.

    Attributes:
      where: the annotations, for messages.
      root: folder that the images' paths are relative to.
      images: those that have a file.
      annotations: of objects, as COCO's JSON has them.
      categories: name of every `category_id`, in the order of the classes.
      unusable: kind of problem -> images without a file, or whose file can't be read.
      problems: kind of other problem with images -> how many.
      left_out: ids of images that are left out.
      has_splits: whether the split chose the images.
    """

    where: str
    root: Path
    images: Sequence[ImageEntry]
    annotations: Iterable[Mapping[str, Any]]
    categories: Mapping[int, str]
    unusable: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    problems: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: frozenset[int] = frozenset()
    has_splits: bool = False


def with_sizes(root: Path, images: Sequence[ImageEntry], unreadable: list[str]) -> list[ImageEntry]:
    """Returns images with those sizes that aren't known (0), by the files' headers.

    Args:
      root: what paths are relative to.
      images: whose paths are all different.
      unreadable: what the names of those are appended to that can't be read; they aren't returned.
    """
    unknown = [image.path for image in images if not image.height]
    size_of = dict(zip(unknown, _sizes(root, unknown), strict=True))
    known = []
    for image in images:
        size = size_of.get(image.path, (image.height, image.width))
        if isinstance(size, str):
            unreadable.append(f"{root / image.path} ({size})")
        else:
            known.append(image._replace(height=size[0], width=size[1]))
    return known


def _sizes(root: Path, paths: Sequence[str]) -> list[tuple[int, int] | str]:
    """Height and width of every file, or why it can't be read."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return [*pool.map(checked_size, [root / path for path in paths])]


class DetectionFiles:
    """Image files with objects; see `common.data.detection.DetectionSource`.

    `problems` are those of all parts of the data.

    Args:
      found: what a reader found.
      holdout: share of the images that is the held-out part where the data has no splits; 0: both
        parts are everything.
      training: which part.
      masks: read the objects' masks, if every one has one.

    Raises:
      UserError: nothing that can be used, fewer than two images to divide, or outlines without
        pycocotools.
    """

    def __init__(
        self, found: Annotated, *, holdout: float = 0.0, training: bool = True, masks: bool = True
    ):
        self.class_names, self.category_ids = [*found.categories.values()], [*found.categories]
        label_of = {category: label for label, category in enumerate(found.categories)}
        entries, faults = usable_objects(
            found.annotations, found.images, label_of, left_out=found.left_out, masks=masks
        )
        if not found.images:
            raise_problems(f"no image of {found.where} can be used", _full(found.unusable))
        images_left_out = {kind: len(names) for kind, names in _full(found.unusable).items()}
        images_left_out |= found.problems
        self.problems = images_left_out | dict(faults)
        lines = [problems_line(images_left_out, "images"), problems_line(faults)]
        self._problems_line = "; ".join(filter(None, lines))
        if not entries:
            why = f": {self._problems_line}" if self.problems else ""
            raise UserError(f"no object that can be used in {found.where}{why}; annotate some")
        if all(entry.crowd for entry in entries):
            raise UserError(
                f"every object in {found.where} is a crowd (iscrowd is 1), as CVAT exports what a "
                "brush has drawn; export polygons, or set iscrowd to 0 there"
            )
        keep = np.arange(len(found.images))
        if not found.has_splits:
            keep = part_by_name([i.path for i in found.images], holdout, training=training)
        self._objects = Objects(entries, keep)
        self.has_masks = self._objects.segmentations is not None
        bare = sum(not entry.segmentation for entry in entries)
        some = f" ({bare:,} of all {len(entries):,} have none)" if bare < len(entries) else ""
        self._with_masks = "with masks" if self.has_masks else f"without masks{some}"
        if self.has_masks and self._objects.segmentations.have_outlines:
            coco_masks()  # says now if it isn't there
        images = [found.images[i] for i in keep]
        # Fixed-width bytes: lists of a million strings would cost each worker much more memory.
        self._paths = np.array([os.fsencode(image.path) for image in images])
        names = [image.file_name.encode(errors="surrogatepass") for image in images]
        self._file_names = np.array(names)
        self._ids = np.array([image.id for image in images], np.int64)
        self.sizes = np.array([(image.height, image.width) for image in images], np.int32)
        self._root, self._unusable = found.root, dict(found.unusable)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> DetectionExample:
        index = range(len(self))[index]
        image = read_content(self._root / self.name(index))
        place, (height, width) = self._objects.of(index), self.sizes[index].tolist()
        boxes = self._objects.bboxes[place]
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        example: DetectionExample = {
            "image": image,
            "boxes": boxes.clip(0, [width, height] * 2).astype(np.float32),
            "labels": self._objects.labels[place],
            "crowd": self._objects.crowd[place],
            "image_id": int(self._ids[index]),
            "name": self.name(index),
        }
        if self.has_masks:
            masks = np.zeros((len(boxes), height, width), bool)
            for mask, position in zip(masks, range(place.start, place.stop), strict=True):
                mask[:] = segmentation_mask(self._objects.segmentations[position], height, width)
            example["masks"] = masks
        return example

    def name(self, index: int) -> str:
        """Returns the image's path below the root."""
        return os.fsdecode(self._paths[index])

    @property
    def summary(self) -> str:
        """What there is and what was left out, in a line."""
        counts, crowds = self._objects.counts(), int(self._objects.crowd.sum())
        parts = [f"{len(self):,} images, {(counts == 0).sum():,} of them without objects"]
        of_them = f", {crowds:,} of them crowds" if crowds else ""
        classes = len(self.class_names)
        parts.append(
            f"{len(self._objects):,} objects of {classes} classes, {self._with_masks}{of_them}"
        )
        return "; ".join([*parts, self._problems_line] if self.problems else parts)

    def ground_truth(self) -> dict[str, Any]:
        """Returns all images and their objects as COCO's JSON has them."""
        categories = dict(zip(self.category_ids, self.class_names, strict=True))
        examples = ((self._entry(i), self._objects.entries(i)) for i in range(len(self)))
        return coco_json(examples, categories)

    def _entry(self, index: int) -> ImageEntry:
        file_name = self._file_names[index].decode(errors="surrogatepass")
        size = self.sizes[index].tolist()
        return ImageEntry(int(self._ids[index]), self.name(index), file_name, *size)

    def check(self, max_corrupt: int = 0) -> None:
        """Makes sure that images are there, readable and of the size that annotations are for.

        Args:
          max_corrupt: files that are let pass although they are missing or can't be read.

        Raises:
          UserError: counts the problems of each kind and names the first files.
        """
        paths = [self.name(i) for i in range(len(self))]
        found = {kind: [*names] for kind, names in self._unusable.items()}
        unreadable = found.setdefault(UNREADABLE, [])
        sizes: list[str] = []
        for path, size, expected in zip(
            paths, _sizes(self._root, paths), self.sizes.tolist(), strict=True
        ):
            file = self._root / path
            if isinstance(size, str):
                unreadable.append(f"{file} ({size})")
            elif [*size] != expected:
                sizes.append(_other_size(file, size, expected))
        if sum(map(len, found.values())) <= max_corrupt:
            found = {}
        raise_problems("images and annotations don't fit", _full(found | {_OTHER_SIZE: sizes}))


def _full(problems: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {kind: names for kind, names in problems.items() if names}


def _other_size(file: Path, size: tuple[int, int], expected: Sequence[int]) -> str:
    text = f"{file} is {size[1]}x{size[0]}, annotated as {expected[1]}x{expected[0]}"
    if [*size] == expected[::-1] and is_turned(file):
        text += " (EXIF turns the image, it was annotated unturned)"
    return text
