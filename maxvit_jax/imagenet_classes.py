"""Names of ImageNet's classes, in the order of their synsets, as all published weights have them.

`imagenet_classes.txt` has a line for each of ImageNet-1k's 1,000: the synset, and its words in
WordNet 3.0 (copyright 2006 by Princeton University), as timm's `imagenet_synset_to_lemma.txt` lists
them. `imagenet_21k_classes.txt.gz` has the same for the 21,843 of the whole ImageNet as Google
counts them (timm's `imagenet21k_goog_synsets.txt`).
"""

import functools
import gzip
from collections.abc import Sequence
from pathlib import Path

# Not in the archive of 2011, whose 21,841 classes MetaFormer's weights tell apart.
_NOT_IN_2011 = {"n03931044", "n09859684"}
_ALIKE = 0.9  # of a list of names, from which on it is ImageNet's


@functools.cache
def imagenet_class_names(num_classes: int) -> tuple[str, ...] | None:
    """Returns the names, such as `"tench, Tinca tinca"`, or None for a number that tells no set.

    Args:
      num_classes: which ImageNet: 1000, 21841 (as in the archive of 2011) or 21843 (Google's).
    """
    return _column(num_classes, 2)


@functools.cache
def imagenet_synsets(num_classes: int) -> tuple[str, ...] | None:
    """Returns the synsets, such as `"n01440764"`, as `imagenet_class_names` does the names."""
    return _column(num_classes, 0)


def in_words_of(found: Sequence[str], stored: Sequence[str] | None) -> Sequence[str] | None:
    """Returns ImageNet's names as synsets where the data has these, and any others as they are.

    Args:
      found: what the data calls its classes: by their synsets, ImageNet's folders and records do.
      stored: what weights call theirs; None: they don't.
    """
    names = imagenet_class_names(len(stored or ()))
    synsets = imagenet_synsets(len(stored or ()))
    if not names or set(found) != set(synsets):
        return stored
    # Lists of other code word a few otherwise.
    agreeing = sum(a == b for a, b in zip(stored, names, strict=True))
    return list(synsets) if agreeing > _ALIKE * len(names) else stored


def _column(num_classes: int, column: int) -> tuple[str, ...] | None:
    if num_classes == 1000:
        lines = _here("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    elif num_classes in (21841, 21843):
        packed = _here("imagenet_21k_classes.txt.gz").read_bytes()
        lines = gzip.decompress(packed).decode().splitlines()
        if num_classes == 21841:
            lines = [line for line in lines if line.partition(" ")[0] not in _NOT_IN_2011]
    else:
        return None
    return tuple(line.partition(" ")[column] for line in lines)


def _here(name: str) -> Path:
    return Path(__file__).with_name(name)
