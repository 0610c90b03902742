"""Where labelled images come from: arrays, class folders, tfds data sets, scikit-learn's digits.

A source is random access and picklable, so that the pipeline can read it in any order and in worker
processes. Encoded images stay encoded; `common.data.images.decode` takes both forms.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np

from common.data.class_folders import class_folders, order_line, refuse_splits
from common.data.class_maps import named_folders
from common.data.folder_files import files_of
from common.data.found_files import classes_line, left_out_line
from common.data.held_out import BY_NAMES, HELD_OUT, part_of_classes
from common.data.images import CorruptImage
from common.data.tfds_builders import TfdsRecords, encoded_records, tfds_builder
from common.errors import UserError, did_you_mean
from common.regular_files import read_file

# Of photos that Pillow decodes.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
_SPLIT_SEED = 0  # the same parts in every run, whatever the run's own seed


class Example(TypedDict):
    """One image and whatever a job wants to learn of it, such as a `label`, under its own names.

    Attributes:
      image: content of an image file, or uint8 pixels `[height, width, channels]`.
      name: what to call the example in messages.
    """

    image: bytes | np.ndarray
    name: str


class LabelledExample(Example):
    """An image with its class.

    Attributes:
      label: index into the source's `class_names`.
    """

    label: int


class Source(Protocol):
    """Random access to labelled images; `source[i]` raises CorruptImage for an unreadable one.

    Attributes:
      class_names: one name per label; may be ids or empty strings.
    """

    class_names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LabelledExample: ...

    def name(self, index: int) -> str:
        """Returns the example's name, without reading its image where possible."""
        ...


def stratified_split(
    labels: Sequence[int] | np.ndarray, holdout: float, seed: int = _SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Divides examples into two parts with the same class proportions.

    Of each class a rounded share goes to the second part: at least one example and never all, so a
    class with a single example stays in the first.

    Args:
      labels: class of each example.
      holdout: share of the second part, in (0, 1).
      seed: fixes the choice.

    Returns:
      Sorted int64 positions of the first and of the second part.

    Raises:
      UserError: `holdout` is out of range.
    """
    if not 0 < holdout < 1:
        raise UserError(f"holdout={holdout} is not a share; choose a number between 0 and 1")
    labels = np.asarray(labels)
    rng = np.random.RandomState(seed)  # its stream is frozen for good
    parts: tuple[list, list] = ([], [])
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(len(members) * holdout), 1), len(members) - 1)
        parts[0].append(members[count:])
        parts[1].append(members[:count])
    first, second = (np.sort(np.concatenate(part or [[]])).astype(np.int64) for part in parts)
    return first, second


class ArraySource:
    """Images in memory.

    Attributes:
      class_names: one per label.
      labels: int `[examples]`.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray | bytes] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        class_names: Sequence[str],
        names: Sequence[str] | None = None,
    ):
        """Wraps arrays.

        Args:
          images: uint8 `[examples, height, width, channels]`, or one array or encoded file each.
          labels: one integer per image, in `[0, len(class_names))`.
          class_names: one name per class.
          names: one name per image; their positions when None.

        Raises:
          UserError: lengths that differ, or labels out of range.
        """
        self.class_names = list(class_names)
        self._images = images
        self.labels = np.asarray(labels, np.int64)
        self._names = names
        if len(images) != len(self.labels):
            raise UserError(f"{len(images)} images but {len(self.labels)} labels; give one each")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.class_names)))
        if wrong.size:
            label = self.labels[wrong[0]]
            raise UserError(
                f"label {label} of example {wrong[0]} is out of range; "
                f"{len(self.class_names)} class names allow 0 to {len(self.class_names) - 1}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> LabelledExample:
        label = int(self.labels[index])
        return {"image": self._images[index], "label": label, "name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns the example's name."""
        return f"[{index}]" if self._names is None else self._names[index]


class FolderSource:
    """A folder of class folders: `root/split/class/**/image.jpg`, or without `split`.

    Classes are numbered in sorted order of the training split's folders; images are sorted, hidden
    files and folders are left out. Without split folders a share of each class is held out by the
    files' names, so that adding files moves none to another part: it makes the split "eval" (or
    "val", "validation", "test"), the rest is "train".

    Attributes:
      class_names: one per label.
      labels: int `[examples]`.
      held_out: by which rule images are held out; "" where there are split folders.
      summary: what there is and what was left out, in a line.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        train_split: str = "train",
        holdout: float = 0.1,
        classes: Sequence[str] | str = (),
    ):
        """Lists the files; reads none.

        Args:
          root: the folder.
          split: name of a split folder, or of a part as above.
          train_split: the split folder that defines the classes.
          holdout: share of each class held out when there are no split folders, in (0, 1).
          classes: names of the class folders in the order of their numbers, or a file that lists
            them (`common.data.class_maps`); (): sorted as text.

        Raises:
          UserError: a missing folder or split, no classes, an empty class, a class that the
            training split lacks, others than `classes`, or folders that look like anything but
            classes.
        """
        self._root = Path(root).expanduser()
        if not self._root.is_dir():
            raise UserError(f"no folder {str(self._root)!r}; give the folder that holds the images")
        flat = not (self._root / train_split).is_dir()
        if flat and (self._root / split).is_dir():
            raise UserError(
                f"{self._root} has {split!r} but no {train_split!r} folder, which numbers the "
                "classes; add it, or name another as train_split"
            )
        if not classes:
            refuse_splits(self._root, train_split)
        names = named_folders(self._root if flat else self._root / train_split, classes)
        self.class_names, numbered = [*names.values()], [*names]
        folder = self._root if flat else self._split_folder(split)
        if unknown := sorted(set(class_folders(folder)) - set(numbered)):
            raise UserError(
                f"class {unknown[0]!r} of {folder} is not in {self._root / train_split} "
                f"({len(unknown)} such); every class needs training images"
            )
        prefix = os.fsencode(self._root / "_")[:-1]
        # An evaluation split may lack classes.
        labels = [i for i, name in enumerate(numbered) if (folder / name).is_dir()]
        found = files_of([folder / numbered[label] for label in labels])
        images = [images_of(part.files) for part in found]
        for label, files, part in zip(labels, images, found, strict=True):
            if not files:
                lost = left_out_line(files, *part)
                none = f"class folder {folder / numbered[label]} has no images"
                lost += "; " * bool(lost)
                raise UserError(
                    f"{none} ({', '.join(IMAGE_SUFFIXES)}); {lost}add some or remove it"
                )
        used = [file for files in images for file in files]
        paths = [os.fsencode(file)[len(prefix) :] for file in used]
        labels = np.repeat(np.array(labels, np.int32), [len(files) for files in images])
        # Fixed-width bytes: a list of a million strings would cost each worker much more memory.
        self._paths, self.labels = np.array(paths), labels
        others = sum((part.others for part in found), Counter())
        everything = [file for part in found for file in part.files]
        notes = [order_line(numbered), left_out_line(used, everything, others)]
        self.held_out = BY_NAMES if flat else ""
        if flat:
            self._keep_part(split, train_split, holdout)
            chosen = "of each class is held out, by the files' names"
            notes.insert(0, f"{folder} has no splits: {holdout:.3g} {chosen}")
        counts = classes_line(self.class_names, self.labels)
        self.summary = "; ".join(filter(None, [counts, *notes]))

    def _split_folder(self, split: str) -> Path:
        folder = self._root / split
        if not folder.is_dir():
            splits = [entry.name for entry in self._root.iterdir() if entry.is_dir()]
            raise UserError(f"no split {split!r} in {self._root}; {did_you_mean(split, splits)}")
        return folder

    def _keep_part(self, split: str, train_split: str, holdout: float) -> None:
        if split not in (train_split, *HELD_OUT):
            hint = did_you_mean(split, (train_split, *HELD_OUT))
            raise UserError(
                f"no split {split!r} in {self._root}, which has no split folders; {hint}"
            )
        names = [os.fsdecode(path) for path in self._paths]
        keep = part_of_classes(names, self.labels, holdout, training=split == train_split)
        if not keep.size:
            raise UserError(
                f"nothing to hold out in {self._root}: every class has a single image; add images"
            )
        self._paths, self.labels = self._paths[keep], self.labels[keep]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> LabelledExample:
        path = self._root / os.fsdecode(self._paths[index])
        try:
            data = read_file(path)
        except OSError as error:
            raise CorruptImage(f"can't be read: {error.strerror}") from error
        return {"image": data, "label": int(self.labels[index]), "name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns the file's path."""
        return str(self._root / os.fsdecode(self._paths[index]))


def images_of(files: Sequence[str]) -> list[str]:
    """Returns those paths that name images, sorted."""
    return sorted(path for path in files if path.lower().endswith(IMAGE_SUFFIXES))


class TfdsSource(TfdsRecords):
    """A tfds classification data set prepared on disk as array_record; see `TfdsRecords`."""

    def _open(self) -> None:
        import tensorflow_datasets as tfds

        name, split, data_dir = self._args
        self._builder = builder = tfds_builder(name, data_dir)
        kinds = {tfds.features.Image: "image", tfds.features.ClassLabel: "label"}
        keys = {}
        for key, feature in builder.info.features.items():
            for kind, role in kinds.items():
                if isinstance(feature, kind):
                    keys.setdefault(role, key)
        if len(keys) < 2:
            raise UserError(
                f"tfds data set {name!r} has no image and class label; "
                f"its features are {', '.join(builder.info.features)}"
            )
        self._image_key, self._label_key = keys["image"], keys["label"]
        self.class_names = builder.info.features[self._label_key].names
        self._records = encoded_records(builder, name, split, self._image_key)

    def __getitem__(self, index: int) -> LabelledExample:
        record = self._records[index]
        label = int(record[self._label_key])
        return {"image": record[self._image_key], "label": label, "name": self._name(index, record)}

    def name(self, index: int) -> str:
        """Returns the record's file name or id where the data set has one."""
        return self._name(index, self._records[index])

    def _name(self, index: int, record: dict[str, Any]) -> str:
        for key in ("file_name", "image/filename", "filename", "id"):
            if isinstance(value := record.get(key), bytes | str | np.ndarray):
                value = value.item() if isinstance(value, np.ndarray) else value
                return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        name, split, _ = self._args
        return f"{name}:{split}[{index}]"


def digits_source(part: str) -> ArraySource:
    """Returns scikit-learn's 1,797 handwritten digits, 8x8 gray, as uint8 `[8, 8, 3]` images.

    Args:
      part: "train", or "test": a fixed stratified fifth of them.

    Raises:
      UserError: another part.
    """
    from sklearn.datasets import load_digits

    parts = ("train", "test")
    if part not in parts:
        raise UserError(f"digits have no split {part!r}; {did_you_mean(part, parts)}")
    digits = load_digits()
    keep = stratified_split(digits.target, 0.2)[parts.index(part)]
    pixels = np.rint(digits.images[keep] * (255 / 16)).astype(np.uint8)
    return ArraySource(
        np.repeat(pixels[..., None], 3, axis=-1),
        digits.target[keep],
        [str(digit) for digit in digits.target_names],
        [f"digits[{index}]" for index in keep],
    )


def _tfds(*, name: str = "", split: str = "train", data_dir: str | None = None, **_) -> Source:
    _require("tfds", "name", name)
    return TfdsSource(name, split, data_dir)


def _folder(
    *,
    root: str = "",
    split: str = "train",
    train_split: str = "train",
    holdout: float = 0.1,
    classes: Sequence[str] | str = (),
    **_,
) -> Source:
    _require("folder", "root", root)
    return FolderSource(root, split, train_split=train_split, holdout=holdout, classes=classes)


def _digits(*, split: str = "train", **_) -> Source:
    return digits_source(split)


def _require(kind: str, field: str, value: str) -> None:
    if not value:
        raise UserError(f"data source {kind!r} needs {field}, which is empty; set it")


# From the fields of a configuration to a source. Add your own: it gets `split` and all fields of
# the data section as keywords, and takes those it needs.
SOURCES: dict[str, Callable[..., Source]] = {"tfds": _tfds, "folder": _folder, "digits": _digits}


def make_source(kind: str, **fields: Any) -> Source:
    """Makes a source from the fields of a configuration.

    Args:
      kind: one of `SOURCES`: "tfds" (uses `name`, `split`, `data_dir`), "folder" (`root`, `split`,
        `train_split`, `holdout`), "digits" (`split`), or one that was added.
      **fields: of those:
        name: of a tfds data set, such as "imagenet2012" or "cifar10".
        root: folder of images.
        split: which part.
        data_dir: where tfds data sets lie; None is tfds's own default.
        train_split: the folder whose classes number the labels of every split.
        holdout: share of each class kept for evaluation when `root` has no split folders, in
          (0, 1).

    Raises:
      UserError: unknown kind or split, or data that is missing or unusable.
    """
    if kind not in SOURCES:
        raise UserError(f"unknown data source {kind!r}; {did_you_mean(kind, SOURCES)}")
    return SOURCES[kind](**fields)
