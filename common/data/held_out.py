"""The held-out part of data that has no splits of its own, chosen by the images' names alone.

Adding images moves none to another part, unless one was so small that it would have been empty, and
got one image.
"""

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from common.errors import UserError, did_you_mean

HELD_OUT = ("eval", "val", "validation", "test")  # what the part may be called
BY_NAMES = "by a hash of their names"  # the rule, as runs keep it
_ALIKE = ("val", "valid", "validation", "eval")


def split_names(split: str) -> list[str]:
    """Returns what a split may be called in data, as it is called first: "valid" is also "val"."""
    return [*dict.fromkeys([split, *(_ALIKE if split in _ALIKE else ())])]


def check_part(split: str, train_split: str, where: str) -> None:
    """Makes sure that a split without files of its own is a part by name.

    Args:
      split: what was asked for; "" is all of the data.
      train_split: what the training part is called.
      where: the data, for the message.

    Raises:
      UserError: it is neither `train_split` nor one of `HELD_OUT`.
    """
    known = (train_split, *HELD_OUT)
    if split and split not in known:
        hint = did_you_mean(split, known)
        raise UserError(f"no split {split!r} in {where}, which has no splits of its own; {hint}")


def part_by_name(
    names: Sequence[str], holdout: float, *, training: bool, seed: int = 0
) -> np.ndarray:
    """Returns the sorted positions, int64, of the training or of the held-out part.

    Args:
      names: relative paths of the images; suffixes don't count.
      holdout: share that is held out, in [0, 1); 0: both parts are everything. Else at least one
        image is held out, and one isn't.
      training: which part.
      seed: of another choice.

    Raises:
      UserError: a share out of range, or fewer than two images to divide.
    """
    if not 0 <= holdout < 1:
        raise UserError(f"holdout={holdout} is no share; choose a number from 0 to below 1")
    if not holdout:
        return np.arange(len(names))
    if len(names) < 2:
        raise UserError(f"{len(names)} images can't be divided by holdout={holdout}; add some")
    numbers = np.array([_number(name, seed) for name in names])
    held_out = numbers < holdout
    held_out[np.argmin(numbers)], held_out[np.argmax(numbers)] = True, False
    return np.flatnonzero(held_out != training)


def part_of_classes(
    names: Sequence[str], labels: np.ndarray, holdout: float, *, training: bool
) -> np.ndarray:
    """Returns the sorted positions, int64, of one part of examples with a class each.

    Of every class a share is held out as by `part_by_name`, which leaves some of it in either part;
    a class with a single example is trained on.

    Args:
      names: relative paths of the images.
      labels: class of each.
      holdout: share that is held out, in (0, 1).
      training: which part.

    Raises:
      UserError: a share out of range.
    """
    if not 0 < holdout < 1:
        raise UserError(f"holdout={holdout} is no share; choose a number between 0 and 1")
    kept = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            own = [names[i] for i in members]
            members = members[part_by_name(own, holdout, training=training)]
        elif not training:
            members = members[:0]
        kept.append(members)
    return np.sort(np.concatenate(kept))


def _number(path: str, seed: int) -> float:
    """A fixed number in [0, 1) of a path without its suffix."""
    name = os.path.splitext(path)[0].replace(os.sep, "/")
    salt = seed.to_bytes(hashlib.blake2b.SALT_SIZE, "little")  # of 0 it is none
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4, salt=salt).digest()
    return int.from_bytes(digest, "big") / 2**32
