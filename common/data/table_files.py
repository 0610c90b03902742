"""The image files that a table names, and how they are split in two parts."""

import concurrent.futures
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.detection_files import MISSING, SEVERAL, UNREADABLE
from common.data.detection_objects import problems_line
from common.data.held_out import part_by_name
from common.data.image_files import checked_size
from common.data.named_paths import NamedPaths
from common.data.pair_layouts import image_paths
from common.errors import UserError

TWO_ROWS = "image file that an earlier row has"
NOT_IN_TABLE = "image of a list that the table lacks"
IN_BOTH = "image of both lists, which is evaluated on alone"
_NAMED = 3  # of each kind
_THREADS = 8


def only_csv(folder: Path, what: str) -> Path:
    """Returns the CSV file in a folder; raises UserError unless there is one.

    Args:
      folder: to look in.
      what: it has, for the message.
    """
    found = sorted(path.name for path in folder.glob("*.csv"))
    if len(found) != 1:
        there = f"there are {', '.join(found[:5])}" if found else "there is none"
        raise UserError(f"which CSV file in {folder} has {what}? {there}; set config.data.table")
    return folder / found[0]


class Parts(NamedTuple):
    """How images are split for training and evaluation.

    Attributes:
      train_list: text file with an image per line, by its path, name, or name without suffix.
      eval_list: the same of those to evaluate on. Of one list alone the other part is the rest;
        without any, images are held out.
      holdout: share that is held out, chosen by names and seed.
      seed: of that choice.
    """

    train_list: str = ""
    eval_list: str = ""
    holdout: float = 0.1
    seed: int = 0


class TableFiles:
    """Images of a table: what a source of them has beside its examples.

    Args:
      where: the table's file, for messages.
      images: as the table calls them.
      problems: kind of fault -> rows of the table that can't be used.
      root: folder of the images, searched with the folders in it.
      parts: how the images are split.
      training: which part.

    Attributes:
      root: the folder.
      rows: int `[examples]`: position in `images` of each example.
      problems: kind of fault -> what was left out for it; unreadable files of this part, all else
        of the whole table.
      how: how the part was chosen, in words.

    Raises:
      UserError: nothing is left, or a list that can't be read.
    """

    def __init__(
        self,
        where: str,
        images: Sequence[str],
        problems: Mapping[str, Sequence[str]],
        root: Path,
        parts: Parts,
        training: bool,
    ):
        self.root, self.problems = root, {kind: [*rows] for kind, rows in problems.items()}
        paths, rows = _found(images, root, self.problems)
        self._require_some(paths, f"no row of {where} with an image in {root} can be used")
        part, self.how = _part(paths, parts, training, self.problems)
        part = self._readable(paths, part)
        self._require_some(part, f"nothing is left to {'train' if training else 'evaluate'} on")
        # Fixed-width bytes: a list of a million strings would cost each worker much more memory.
        self._paths = np.array([os.fsencode(paths[i]) for i in part])
        self.rows = np.array([rows[i] for i in part])

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """Returns the image's path below the root."""
        return os.fsdecode(self._paths[index])

    def summary_of(self, what: str, notes: Sequence[str]) -> str:
        """Returns what there is and what was left out, in a line.

        Args:
          what: of the images is to be said.
          notes: what else.
        """
        there = f"{len(self):,} images, {what}; {self.how}"
        return "; ".join(filter(None, [there, *notes, self._problems_line]))

    def _readable(self, paths: Sequence[str], part: Sequence[int]) -> list[int]:
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            sizes = [*pool.map(checked_size, (self.root / paths[i] for i in part))]
        broken = [paths[i] for i, size in zip(part, sizes, strict=True) if isinstance(size, str)]
        if broken:
            self.problems[UNREADABLE] = broken
        return [i for i, size in zip(part, sizes, strict=True) if not isinstance(size, str)]

    @property
    def _problems_line(self) -> str:
        return problems_line(
            {f"{kind} ({_listed(rows)})": len(rows) for kind, rows in self.problems.items()}, "rows"
        )

    def _require_some(self, found: Sequence[object], message: str) -> None:
        if not len(found):
            line = self._problems_line
            raise UserError(f"{message}{f': {line}' if line else ''}; mend or complete the data")


def _found(
    images: Sequence[str], root: Path, problems: dict[str, list[str]]
) -> tuple[list[str], list[int]]:
    """Paths of the images that have one file, and their rows."""
    files = NamedPaths(image_paths(root))
    paths: dict[str, int] = {}
    for row, image in enumerate(images):
        found = files.find(image)
        if len(found) == 1 and found[0] not in paths:
            paths[found[0]] = row
        else:
            kind = MISSING if not found else SEVERAL if len(found) > 1 else TWO_ROWS
            problems.setdefault(kind, []).append(image)
    return [*paths], [*paths.values()]


def _part(
    paths: Sequence[str], parts: Parts, training: bool, problems: dict[str, list[str]]
) -> tuple[Sequence[int], str]:
    """Positions of the training or the evaluation part, and how they were chosen."""
    files = {"train": parts.train_list, "eval": parts.eval_list}
    listed = {
        name: _listed_images(Path(file).expanduser(), paths, problems)
        for name, file in files.items()
        if file
    }
    if not listed:
        keep = part_by_name(paths, parts.holdout, training=training, seed=parts.seed)
        chosen = f"no split lists: {parts.holdout:g} of all images are held out, seed {parts.seed}"
        return keep, chosen
    if len(listed) == 2:
        both = listed["train"] & listed["eval"]
        if both:
            problems[IN_BOTH] = [paths[i] for i in sorted(both)]
        listed["train"] -= both
    name, other = ("train", "eval") if training else ("eval", "train")
    if name in listed:
        return sorted(listed[name]), f"as {files[name]} lists them"
    return sorted({*range(len(paths))} - listed[other]), f"all that {files[other]} does not list"


def _listed_images(file: Path, paths: Sequence[str], problems: Mapping[str, list[str]]) -> set[int]:
    try:
        names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise UserError(f"the list {file} can't be read: {why}") from error
    files, position_of = NamedPaths(paths), {path: i for i, path in enumerate(paths)}
    found, unknown = set(), []
    for name in filter(None, names):
        matches = files.find(name)
        if len(matches) == 1:
            found.add(position_of[matches[0]])
        else:
            unknown.append(name)
    if not found:
        raise UserError(
            f"the list {file} has no image of the table that can be used"
            + (f", only such as {_listed(unknown)}" if unknown else ": it is empty")
            + "; it needs one per line, by name or id"
        )
    if unknown:
        problems.setdefault(NOT_IN_TABLE, []).extend(unknown)
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])
