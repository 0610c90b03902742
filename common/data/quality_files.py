"""Image files with the scores that people gave them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.image_files import read_content
from common.data.score_distributions import moments
from common.data.score_tables import ScoreTable
from common.data.sources import Example
from common.data.table_files import Parts, TableFiles


class ScoredExample(Example):
    """An image with its scores.

    Attributes:
      distribution: float32 `[scores]`: share of the votes for each.
      position: of the example in its source.
    """

    distribution: np.ndarray
    position: int


class ScoredFiles(TableFiles):
    """Images of a table; see `common.data.quality.QualitySource`.

    Args:
      table: what can be used of it.
      root: folder of the images, searched with the folders in it.
      scores: values of the distributions' entries.
      parts: how the images are split.
      training: which part.

    Attributes:
      summary: what there is and what was left out, in a line.

    Raises:
      UserError: nothing is left, or a list that can't be read.
    """

    def __init__(
        self, table: ScoreTable, root: Path, scores: Sequence[float], parts: Parts, training: bool
    ):
        super().__init__(table.where, table.images, table.problems, root, parts, training)
        self._distributions = table.distributions[self.rows].astype(np.float32)
        mean, _ = moments(self._distributions, scores)
        what = f"mean scores {mean.min():.2f} to {mean.max():.2f}"
        self.summary = self.summary_of(what, table.notes)

    def __getitem__(self, index: int) -> ScoredExample:
        index = range(len(self))[index]
        return {
            "image": read_content(self.root / self.name(index)),
            "distribution": self._distributions[index],
            "position": index,
            "name": self.name(index),
        }
