"""What a folder of images turned out to hold, in words: its classes, and files of other kinds."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from common.photo_names import shown

_MOST_LISTED = 12  # classes, or kinds of files
_IMBALANCED = 5  # times as many examples of one class as of another


def left_out_line(
    used: Collection[os.PathLike | str],
    found: Collection[os.PathLike | str],
    others: Mapping[str, int] | None = None,
) -> str:
    """Says which files are left out, by kind: "left out: 12 of 18 files (12 .heic)".

    Args:
      used: files that are not left out.
      found: all files.
      others: kind of what is no file that could be used -> how many
        (`common.data.folder_files.FolderFiles.others`).

    Returns:
      The empty string if none is.
    """
    count, odd = len(found) - len(used), [f"{n:,} {kind}" for kind, n in (others or {}).items()]
    if not count:
        return f"left out: {', '.join(odd)}" if odd else ""
    kinds = (_suffixes(found) - _suffixes(used)).most_common()
    listed = [f"{n:,} {suffix or 'without a suffix'}" for suffix, n in kinds[:_MOST_LISTED]]
    rest = ["..."] if len(kinds) > _MOST_LISTED else []
    line = f"left out: {count:,} of {len(found):,} files ({', '.join(listed + rest)})"
    return ", ".join([line, *odd])


def classes_line(class_names: Sequence[str], labels: np.ndarray) -> str:
    """Says how many images there are of which class, and whether some are much rarer.

    Args:
      class_names: by label.
      labels: int `[examples]`.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    order = np.argsort(-counts, kind="stable")
    most, least = order[0], order[-1]
    line = f"{len(labels):,} images of {len(class_names):,} classes"
    if len(class_names) <= _MOST_LISTED:
        line += ": " + ", ".join(f"{shown(class_names[i])} {counts[i]:,}" for i in order)
    else:
        ends = (f"{shown(class_names[i])!r} has {counts[i]:,}" for i in (most, least))
        line += f"; {' and '.join(ends)}, the most and the fewest"
    if not counts[least]:
        return f"{line}; none of {np.count_nonzero(counts == 0):,} classes"
    if counts[most] >= _IMBALANCED * counts[least]:
        times = counts[most] / counts[least]
        line += f"; imbalanced: the largest class has {times:.0f} times as many as the smallest"
    return line


def _suffixes(files: Collection[os.PathLike | str]) -> Counter[str]:
    return Counter(os.path.splitext(file)[1].lower() for file in files)
