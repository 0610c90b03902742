"""Sources of images with objects: a box and a class each, and a mask where the data has them.

Random access and picklable, as `common.data.sources`; images stay encoded.
"""

from pathlib import Path
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np

from common.data.held_out import check_part
from common.errors import UserError, did_you_mean

KINDS = ("coco", "voc", "yolo", "tfds", "shapes", "coins")


class DetectionExample(TypedDict):
    """An image with its objects.

    Attributes:
      image: content of an image file, or pixels as `common.data.images.decode` takes them.
      boxes: float32 `[objects, 4]`: x1, y1, x2, y2 in pixels of the decoded image (as a person sees
        it: turned as EXIF says), the last two outside.
      labels: int64 `[objects]`: index into the source's `class_names`.
      crowd: bool `[objects]`: a region with several objects, or an object that need not be found: a
        detection there counts neither as right nor as wrong.
      masks: bool `[objects, height, width]`, only where the source `has_masks`.
      image_id: of the data.
      name: path below the root, or an id.
    """

    image: bytes | np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    masks: NotRequired[np.ndarray]
    image_id: int
    name: str


class DetectionSource(Protocol):
    """Random access; `source[i]` raises CorruptImage for an example that can't be read.

    Attributes:
      class_names: one per class.
      category_ids: the data's own id of every class.
      has_masks: examples have masks.
      sizes: int32 `[examples, 2]`: height and width of the images.
      problems: kind of fault in the annotations -> how many there were.
      summary: what there is and what was left out, in a line.
    """

    class_names: list[str]
    category_ids: list[int]
    has_masks: bool
    sizes: np.ndarray
    problems: dict[str, int]
    summary: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DetectionExample: ...

    def name(self, index: int) -> str:
        """Returns the example's name without reading it."""
        ...

    def ground_truth(self) -> dict[str, Any]:
        """Returns all images, in order, and their objects as COCO's JSON has them.

        Returns:
          `images` (`id`, `file_name`, `height`, `width`), `categories` (`id`, `name`) and
          `annotations` (`id`, 1 or more, `image_id`, `category_id`, `bbox`: left, top, width and
          height in pixels, `area`, `iscrowd`, and `segmentation` where there are masks).
        """
        ...

    def check(self, max_corrupt: int = 0) -> None:
        """Raises UserError for files that can't be used, naming the first; see DetectionFiles."""
        ...


def make_detection_source(
    kind: str,
    *,
    root: str = "",
    split: str = "train",
    train_split: str = "train",
    holdout: float = 0.0,
    annotations: str = "",
    images: str = "",
    name: str = "",
    data_dir: str | None = None,
    masks: bool = True,
    count: int = 0,
    size: int = 0,
    max_corrupt: int = 0,
    check: bool = True,
) -> DetectionSource:
    """Makes a source from the fields of a configuration, and checks its files.

    Annotations that can't be used are left out and counted: `problems`, and in words `summary`.

    Args:
      kind: "coco" (COCO's JSON: its own layout, exports of CVAT, Label Studio and Roboflow, or any
        file named as `annotations`), "voc" (Pascal VOC's XML files), "yolo" (a text file per
        image), "tfds" (boxes alone), "shapes" (drawn scenes) or "coins" (a photo of scikit-image);
        the last three need no `root`.
      root: folder of the data set.
      split: "train", "val", or what the data calls its splits.
      train_split: what `split` is called for training.
      holdout: share of the images that is held out, chosen by their names, where the data has no
        splits, in [0, 1); 0: every split is all of it.
      annotations: of "coco": its JSON below `root`; `{split}` in it stands for the split.
      images: of "coco": folder of the images below `root`, likewise.
      name: of "tfds": the data set, such as "coco/2017".
      data_dir: of "tfds": where data sets lie; None is tfds's default.
      masks: read masks where every object has one; reading boxes alone is faster.
      count: of shapes: how many scenes; 0: 2,000 for training, 200 otherwise.
      size: of shapes: side in pixels; 0: 128.
      max_corrupt: image files that are missing or can't be read and that the check lets pass.
      check: look at every image's header before returning.

    Raises:
      UserError: an unknown kind or split, missing data, annotations that can't be read or of which
        none can be used, or files that fail the check.
    """
    if kind not in KINDS:
        raise UserError(f"unknown data source {kind!r}; {did_you_mean(kind, KINDS)}")
    if kind in ("shapes", "coins"):
        from common.data.drawn_objects import coins_with_objects, shapes_with_objects

        check_part(split, train_split, kind)
        part = "train" if split == train_split else "test"
        if kind == "coins":
            return coins_with_objects(part)
        return shapes_with_objects(part, count or None, size or 128)
    needed, value = ("name", name) if kind == "tfds" else ("root", root)
    if not value:
        raise UserError(f"data source {kind!r} needs {needed}, which is empty; set it")
    if (annotations or images) and kind != "coco":
        raise UserError(f"annotations and images have no use for {kind!r}; remove them")
    if kind == "tfds":
        from common.data.tfds_detection import TfdsDetection

        return TfdsDetection(name, split, data_dir)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"no folder {root!r}; give the one that holds the data set")
    from common.data import coco_annotations, detection_files, voc_annotations, yolo_annotations

    match kind:
        case "coco":
            places = coco_annotations.find_coco(folder, split, train_split, annotations, images)
            found = coco_annotations.coco_annotations(places)
        case "voc":
            found = voc_annotations.voc_annotations(folder, split, train_split)
        case _:
            found = yolo_annotations.yolo_annotations(folder, split, train_split)
    if not found.has_splits:
        check_part(split, train_split, str(folder))
    source = detection_files.DetectionFiles(
        found, holdout=holdout, training=split == train_split, masks=masks
    )
    if check:
        source.check(max_corrupt)
    return source
