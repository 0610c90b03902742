"""The objects of a data set: what can't be used is counted by kind, the rest packed in few arrays.

Every reader gives annotations as COCO's JSON has them, and this is where all of them are judged.
Arrays, since worker processes get a copy: millions of small lists would cost each much more memory.
"""

import array
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.data.rle import Segmentation, run_lengths, segmentation_mask

OUTSIDE = "box outside the image"
NO_AREA = "box without area"
BAD_BOX = "box that is not four numbers"
UNKNOWN_CATEGORY = "unknown category"
UNKNOWN_IMAGE = "unknown image"
IMAGE_LEFT_OUT = "image that is left out"
NOT_FINITE = "number that is not finite"
FEW_POINTS = "outline of fewer than three points"
BAD_SEGMENTATION = "malformed segmentation"
TWICE = "object listed twice"
# What keeps its object.
CLIPPED = "box clipped to the image"
SHORT_PART = "part of an outline with fewer than three points"
SAME_ID = "annotation id used again"
KEPT = (CLIPPED, SHORT_PART, SAME_ID)

_BEYOND = 1.0  # pixels that a box may reach beyond the image, which rounding does


class ImageEntry(NamedTuple):
    """An image of a data set.

    Attributes:
      id: of the data.
      path: below the data's root.
      file_name: as the data calls it.
      height: in pixels, as a person sees it.
      width: the same.
    """

    id: int
    path: str
    file_name: str
    height: int
    width: int


class ObjectEntry(NamedTuple):
    """An object that can be used.

    Attributes:
      image: its image's position.
      bbox: left, top, width, height in pixels.
      label: its class.
      crowd: it is a region with several objects.
      area: in pixels.
      id: of the data; 0 where that has none.
      segmentation: outlines or run lengths, None where there are none.
    """

    image: int
    bbox: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float
    id: int
    segmentation: Segmentation | None


class BadAnnotation(ValueError):
    """An annotation that can't be used; its text is the kind of fault."""


def usable_objects(
    annotations: Iterable[Mapping[str, Any]],
    images: Sequence[ImageEntry],
    label_of: Mapping[int, int],
    *,
    left_out: frozenset[int] = frozenset(),
    masks: bool = True,
) -> tuple[list[ObjectEntry], Counter[str]]:
    """Judges annotations.

    Args:
      annotations: as COCO's JSON has them.
      images: what their `image_id` refers to.
      label_of: class of a `category_id`.
      left_out: ids of images that can't be used.
      masks: look at segmentations; otherwise all are None.

    Returns:
      The objects that can be used, in their order, and how many faults of each kind there were.
    """
    position_of = {image.id: i for i, image in enumerate(images)}
    objects: list[ObjectEntry] = []
    problems: Counter[str] = Counter()
    seen: dict[int, ObjectEntry] = {}
    for annotation in annotations:
        try:
            found, faults = _object(annotation, images, position_of, label_of, left_out, masks)
            earlier = seen.setdefault(found.id, found) if found.id else found
            if earlier is not found:
                if earlier[:3] == found[:3]:
                    raise BadAnnotation(TWICE)
                faults.append(SAME_ID)
        except BadAnnotation as error:
            problems[str(error)] += 1
            continue
        problems.update(faults)
        objects.append(found)
    if problems[SAME_ID] or any(entry.id < 1 for entry in objects):
        # pycocotools takes an object of id 0 for none, and ids that occur twice for one object.
        objects = [entry._replace(id=i) for i, entry in enumerate(objects, 1)]
    return objects, +problems


def _object(
    annotation: Mapping[str, Any],
    images: Sequence[ImageEntry],
    position_of: Mapping[int, int],
    label_of: Mapping[int, int],
    left_out: frozenset[int],
    masks: bool,
) -> tuple[ObjectEntry, list[str]]:
    """An object, and faults that don't keep it from being used."""
    if not isinstance(annotation, Mapping):
        raise BadAnnotation(BAD_BOX)
    image_id, category = annotation.get("image_id"), annotation.get("category_id")
    if not is_id(image_id) or image_id not in position_of:
        gone = is_id(image_id) and image_id in left_out
        raise BadAnnotation(IMAGE_LEFT_OUT if gone else UNKNOWN_IMAGE)
    if not is_id(category) or category not in label_of:
        raise BadAnnotation(UNKNOWN_CATEGORY)
    position = position_of[image_id]
    height, width = images[position].height, images[position].width
    bbox, faults = _clipped(annotation.get("bbox"), height, width)
    segmentation = annotation.get("segmentation") if masks else None
    if segmentation:
        segmentation, more = _segmentation(segmentation, height, width)
        faults += more
    area = annotation.get("area")
    if not _is_number(area) or not 0 < area <= height * width:
        area = bbox[2] * bbox[3]
        if segmentation:
            area = int(segmentation_mask(segmentation, height, width).sum())
    number = annotation.get("id")
    return ObjectEntry(
        image=position,
        bbox=bbox,
        label=label_of[category],
        crowd=bool(annotation.get("iscrowd")),
        area=float(area),
        id=number if is_id(number) else 0,
        segmentation=segmentation or None,
    ), faults


def is_id(value: object) -> bool:
    """Whether a value of a JSON file is a whole number of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(values: Sequence[float]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except OverflowError:  # a whole number that no float is near to
        return False


def _clipped(bbox: Any, height: int, width: int) -> tuple[tuple[float, ...], list[str]]:
    if not isinstance(bbox, Sequence) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise BadAnnotation(BAD_BOX)
    if not _finite(bbox):
        raise BadAnnotation(NOT_FINITE)
    left, top, across, down = map(float, bbox)
    if across <= 0 or down <= 0:
        raise BadAnnotation(NO_AREA)
    right, bottom = left + across, top + down
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise BadAnnotation(OUTSIDE)
    if max(-left, -top, right - width, bottom - height) <= _BEYOND:
        return (left, top, across, down), []
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return (left, top, right - left, bottom - top), [CLIPPED]


def _segmentation(value: Any, height: int, width: int) -> tuple[Segmentation, list[str]]:
    if isinstance(value, Mapping):
        return _runs(value, height, width), []
    if not isinstance(value, list) or not all(isinstance(part, list) for part in value):
        raise BadAnnotation(BAD_SEGMENTATION)
    parts = []
    for part in value:
        if len(part) % 2 or not all(map(_is_number, part)):
            raise BadAnnotation(BAD_SEGMENTATION)
        if not _finite(part):
            raise BadAnnotation(NOT_FINITE)
        if len(part) >= 6:
            parts.append(part)
    if not parts:
        raise BadAnnotation(FEW_POINTS)
    return parts, [SHORT_PART] * (len(value) - len(parts))


def _runs(value: Mapping[str, Any], height: int, width: int) -> Segmentation:
    try:
        counts = run_lengths(value["counts"])
        fits = [*value["size"]] == [height, width] and counts.ndim == 1
        fits = fits and counts.min(initial=0) >= 0 and counts.sum() == height * width
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # UserError is a ValueError
        raise BadAnnotation(BAD_SEGMENTATION) from error
    if not fits:
        raise BadAnnotation(BAD_SEGMENTATION)
    return {"counts": counts.tolist(), "size": [height, width]}


class Objects:
    """Objects in arrays, those of an image together: `objects.of(image)` is a slice of them.

    Args:
      entries: the objects.
      keep: positions of the images whose objects are kept; they are renumbered from 0.

    Attributes:
      bboxes: float64 `[objects, 4]`: left, top, width, height.
      labels: int64 `[objects]`.
      crowd: bool `[objects]`.
      areas: float64 `[objects]`.
      ids: int64 `[objects]`.
      segmentations: of every object, or None if one of them has none.
    """

    def __init__(self, entries: Sequence[ObjectEntry], keep: np.ndarray):
        new_position = {int(image): i for i, image in enumerate(keep)}
        kept = [entry for entry in entries if entry.image in new_position]
        kept.sort(key=lambda entry: new_position[entry.image])
        images = [new_position[entry.image] for entry in kept]
        self._starts = np.searchsorted(images, np.arange(len(keep) + 1)).astype(np.int64)
        self.bboxes = np.array([entry.bbox for entry in kept], np.float64).reshape(-1, 4)
        self.labels = np.array([entry.label for entry in kept], np.int64)
        self.crowd = np.array([entry.crowd for entry in kept], bool)
        self.areas = np.array([entry.area for entry in kept], np.float64)
        self.ids = np.array([entry.id for entry in kept], np.int64)
        # In every part of the data alike.
        complete = bool(entries) and all(entry.segmentation for entry in entries)
        packed = PackedSegmentations([entry.segmentation for entry in kept]) if complete else None
        self.segmentations = packed

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, image: int) -> slice:
        """Returns the place of an image's objects."""
        return slice(int(self._starts[image]), int(self._starts[image + 1]))

    def counts(self) -> np.ndarray:
        """Returns how many objects each image has, int64 `[images]`."""
        return np.diff(self._starts)

    def entries(self, image: int) -> list[ObjectEntry]:
        """Returns an image's objects as they came."""
        place = self.of(image)
        columns = (self.bboxes, self.labels, self.crowd, self.areas, self.ids)
        rows = zip(*(column[place].tolist() for column in columns), strict=True)
        packed = self.segmentations
        return [
            ObjectEntry(image, tuple(bbox), *others, packed and packed[position])
            for position, (bbox, *others) in enumerate(rows, place.start)
        ]


class PackedSegmentations:
    """Segmentations, read by position: all their numbers one after another."""

    def __init__(self, segmentations: Sequence[Segmentation]):
        numbers, ends, last_part, sizes = array.array("d"), [0], [0], []
        for segmentation in segmentations:
            runs = isinstance(segmentation, Mapping)
            sizes.append(segmentation["size"] if runs else (0, 0))
            for part in [segmentation["counts"]] if runs else segmentation:
                numbers.extend(part)
                ends.append(len(numbers))
            last_part.append(len(ends) - 1)
        self._numbers = np.array(numbers, np.float64)
        self._ends, self._last_part = np.array(ends, np.int64), np.array(last_part, np.int64)
        self._sizes = np.array(sizes, np.int32).reshape(-1, 2)  # of run lengths, else 0

    def __getitem__(self, index: int) -> Segmentation:
        bounds = self._ends[self._last_part[index] : self._last_part[index + 1] + 1]
        parts = [self._numbers[a:b] for a, b in itertools.pairwise(bounds)]
        size = self._sizes[index].tolist()
        if any(size):
            return {"counts": parts[0].astype(np.int64).tolist(), "size": size}
        return [part.tolist() for part in parts]

    @property
    def have_outlines(self) -> bool:
        """Whether one of them is outlines."""
        return not self._sizes.any(-1).all()


def problems_line(problems: Mapping[str, int], what: str = "annotations") -> str:
    """Returns such as "9 annotations left out: 7 box outside the image, 2 unknown category"."""
    gone = sum(count for kind, count in problems.items() if kind not in KEPT)
    most_first = sorted(problems.items(), key=lambda item: -item[1])
    words = {kind: f"{count:,} {kind}" for kind, count in most_first}
    left_out = ", ".join(text for kind, text in words.items() if kind not in KEPT)
    kept = ", ".join(text for kind, text in words.items() if kind in KEPT)
    parts = [f"{gone:,} {what} left out: {left_out}"] if gone else []
    return "; ".join([*parts, f"kept: {kept}"] if kept else parts)


def coco_json(
    examples: Iterable[tuple[ImageEntry, Iterable[ObjectEntry]]], categories: Mapping[int, str]
) -> dict[str, Any]:
    """Returns images and their objects as COCO's JSON has them.

    Args:
      examples: every image with its objects; the ids of these are the data's, or all are 0 and they
        are numbered from 1.
      categories: name of every category, in the order of the classes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers = [*categories]
    for image, objects in examples:
        size = {"height": image.height, "width": image.width}
        images.append({"id": image.id, "file_name": image.file_name} | size)
        for entry in objects:
            row = {
                "id": entry.id or len(annotations) + 1,
                "image_id": image.id,
                "category_id": numbers[entry.label],
                "bbox": [*entry.bbox],
                "area": entry.area,
                "iscrowd": int(entry.crowd),
            }
            if entry.segmentation is not None:
                row["segmentation"] = entry.segmentation
            annotations.append(row)
    names = [{"id": number, "name": name} for number, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": names}
