"""Names of ImageNet-1k's 1,000 classes, in the order of their synsets, as all published weights.

`imagenet_classes.txt` has a line per class: the synset, and its words in WordNet 3.0 (copyright
2006 by Princeton University), as timm's `imagenet_synset_to_lemma.txt` lists them.
"""

import functools
from pathlib import Path


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
    """Returns the names, such as `"tench, Tinca tinca"`."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.partition(" ")[2] for line in lines)
