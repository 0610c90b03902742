"""Classes of unlike sizes: weights that make up for it, and sources that show all equally often."""

from typing import Any

import numpy as np

from common.data.sources import LabelledExample, Source
from common.errors import UserError


def balanced_weights(source: Source) -> np.ndarray:
    """Returns a weight per class, the smaller the class the larger: scikit-learn's "balanced".

    Args:
      source: has `labels`, an integer per example.

    Returns:
      float32 `[classes]`: `examples / (classes * examples of the class)`, of which the mean over
      all examples is 1; 0 for classes without any, which are not counted.

    Raises:
      UserError: the source does not know its labels.
    """
    counts = np.bincount(_labels(source), minlength=len(source.class_names))
    present = counts > 0
    even = counts.sum() / present.sum()
    return np.where(present, even / np.maximum(counts, 1), 0).astype(np.float32)


class BalancedSource:
    """A source in which every class has as many places as the largest one has examples.

    Those of smaller classes come several times, each equally often or once more.

    Args:
      source: has `labels`, an integer per example.

    Raises:
      UserError: the source does not know its labels.
    """

    def __init__(self, source: Source):
        labels = _labels(source)
        self._source, self.class_names = source, source.class_names
        self._order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        self._starts = (np.cumsum(counts) - counts)[counts > 0]
        self._counts = counts[counts > 0]

    def __len__(self) -> int:
        return len(self._counts) * int(self._counts.max())

    def __getitem__(self, index: int) -> LabelledExample:
        return self._source[self._position(index)]

    def name(self, index: int) -> str:
        """Returns the example's name."""
        return self._source.name(self._position(index))

    def _position(self, index: int) -> int:
        which, place = divmod(range(len(self))[index], int(self._counts.max()))
        return int(self._order[self._starts[which] + place % self._counts[which]])


def _labels(source: Any) -> np.ndarray:
    labels = getattr(source, "labels", None)
    if labels is None:
        raise UserError(
            f"{type(source).__name__} does not tell the class of its images without reading them"
            " all, so classes can't be balanced; class folders do"
        )
    return np.asarray(labels)
