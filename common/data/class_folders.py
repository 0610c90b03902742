"""Which folders are classes, and in which order; what looks like something else, such as splits."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError

# What synchronising, unpacking and file systems leave: nobody's classes.
TOOLS_FOLDERS = (
    "@eaDir",
    "@Recycle",
    "#recycle",
    "__MACOSX",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
)
_TRAINING = ("train", "training", "trainset")
_EVALUATION = ("val", "valid", "validation", "eval", "evaluation", "dev", "test", "testing")
_LISTED = 5


def class_folders(folder: Path, classes: Sequence[str] = ()) -> list[str]:
    """Returns the names of the class folders in a folder, by class number.

    Args:
      folder: holds one folder of images per class; hidden ones and tools' folders are none.
      classes: their names in order; (): all that are found, sorted as text.

    Raises:
      UserError: there are none, or others than `classes`.
    """
    names = sorted(folders_in(folder))
    if not names:
        raise UserError(f"no class folders in {folder}; expected {folder}/<class>/<image>.jpg")
    if not classes:
        return names
    if twice := [name for name in classes if list(classes).count(name) > 1]:
        raise UserError(f"config.data.classes has {twice[0]!r} more than once")
    if set(classes) != set(names):
        difference = class_difference(classes, names)
        raise UserError(f"config.data.classes and the folders in {folder} differ: {difference}")
    return list(classes)


def folders_in(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder but hidden ones and tools' folders.

    Raises:
      UserError: it can't be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir() and is_shown(entry.name)]
    except OSError as error:
        raise UserError(f"can't list {folder}: {error.strerror}; check its permissions") from error


def is_shown(name: str) -> bool:
    """Whether a folder is a user's: neither hidden nor a tool's."""
    return not name.startswith(".") and name not in TOOLS_FOLDERS


def class_difference(stored: Sequence[str], found: Sequence[str]) -> str:
    """Says which names only one of two lists has, or that their order differs.

    Args:
      stored: what is asked for.
      found: what the data has.
    """
    missing = [name for name in stored if name not in set(found)]
    added = [name for name in found if name not in set(stored)]
    parts = [f"the data lacks {_listed(missing)}"] * bool(missing)
    parts += [f"the data has {_listed(added)} besides"] * bool(added)
    return ", and ".join(parts) or "the same names in another order"


def order_line(names: Sequence[str]) -> str:
    """Says how folders that are called by numbers are numbered, where text and numbers differ."""
    if not all(re.fullmatch("[0-9]+", name) for name in names):
        return ""
    if list(names) == sorted(names, key=int):
        return ""
    first = next(i for i, name in enumerate(names) if name != sorted(names, key=int)[i])
    return (
        f"folders are sorted as text, not as numbers: class {first} is folder {names[first]!r};"
        " config.data.classes gives another order"
    )


def refuse_splits(root: Path, train_split: str) -> None:
    """Makes sure that folders are classes and not splits, or a folder around the data.

    Args:
      root: the data.
      train_split: folder of the training split; without it `root` itself has the classes.

    Raises:
      UserError: they are not, with the setting that is likely meant.
    """
    flat = not (root / train_split).is_dir()
    folder = root if flat else root / train_split
    names = sorted(folders_in(folder))
    nested = {name: inside for name in names if (inside := _only_folders(folder / name))}
    splits = {name: part for name in names if (part := _part_of(name))}
    if len(splits) < len(names):  # "train" may be a class among others, if it has images
        splits = {name: part for name, part in splits.items() if name in nested}
    around = nested and len(nested) == len(names) and not _is_shell([*nested.values()])
    if not (splits or around or _share_names([*nested.values()])):
        return
    what = f"{_listed(list(nested))} in {folder} hold folders alone, no images"
    if not flat:
        advice = _split_advice(root, {name: _part_of(name) for name in folders_in(root)})
    elif splits and (len(names) > 1 or not nested):
        what = f"{_listed(list(splits))} in {root} look like splits, not like classes"
        advice = _split_advice(root, splits)
    elif len(names) == 1:
        advice = f"set config.data.root={folder / names[0]}"
    else:
        advice = f"set config.data.root to one of them, such as {folder / min(nested)}"
    raise UserError(f"{what}: {advice}; if these are the classes, list them in config.data.classes")


def _split_advice(root: Path, parts: dict[str, str]) -> str:
    """Names the splits; each may be in a folder of its own name once more."""
    asked = []
    for field, part in (("train_split", "train"), ("eval_split", "eval")):
        found = [name for name, kind in parts.items() if kind == part]
        if not found:
            continue
        # Of validation and test parts the first is for looking at while training.
        name = min(found, key=lambda n: ("test" in n.lower(), n))
        inside = folders_in(root / name)
        if len(inside) == 1 and _only_folders(root / name / inside[0]):
            name = f"{name}/{inside[0]}"
        asked.append(f"config.data.{field}={name}")
    return f"set {' and '.join(asked)}" if asked else "name the splits in config.data.train_split"


def _only_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder that has no files; none otherwise."""
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if is_shown(entry.name))
        if any(not entry.is_dir() for entry in shown):  # most often the first one is a file
            return []
    return sorted(folders_in(folder))


def _is_shell(inside: list[list[str]]) -> bool:
    """Whether every class has its images in one folder more, always of one name: "images"."""
    return len(inside) > 1 and all(len(names) == 1 and names == inside[0] for names in inside)


def _share_names(inside: list[list[str]]) -> bool:
    """Whether two folders hold the same folders, as two folds or years of one data set do."""
    several = [tuple(names) for names in inside if len(names) > 1]
    return len(set(several)) < len(several)


def _part_of(name: str) -> str:
    """Which part a folder's name means: "train", "eval", or "" for neither."""
    words = [word.lower() for word in re.findall("[A-Z]*[a-z]+|[A-Z]+", name)]
    if any(word in _TRAINING for word in words):
        return "train"
    return "eval" if any(word in _EVALUATION for word in words) else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_LISTED])) + ", ..." * (len(names) > _LISTED)
