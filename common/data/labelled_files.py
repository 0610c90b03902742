"""Image files with any number of labels each, as a CSV file has them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.image_files import read_content
from common.data.label_tables import LabelTable
from common.data.sources import Example
from common.data.table_files import Parts, TableFiles


class MultilabelExample(Example):
    """An image with its labels.

    Attributes:
      labels: float32 `[classes]`, 1 for those that it has, else 0.
    """

    labels: np.ndarray


class LabelledFiles(TableFiles):
    """Random access; `source[i]` raises CorruptImage for an example that can't be read.

    Args:
      table: what can be used of it.
      root: folder of the images, searched with the folders in it.
      parts: how the images are split.
      training: which part.

    Attributes:
      class_names: of the labels.
      labels: float32 `[examples, classes]`.
      summary: what there is and what was left out, in a line.

    Raises:
      UserError: nothing is left, or a list that can't be read.
    """

    def __init__(self, table: LabelTable, root: Path, parts: Parts, training: bool):
        super().__init__(table.where, table.images, table.problems, root, parts, training)
        self.class_names: Sequence[str] = table.class_names
        self.labels = table.labels[self.rows].astype(np.float32)
        lacking = [
            n for n, some in zip(self.class_names, self.labels.any(0), strict=True) if not some
        ]
        notes = [f"no image of {', '.join(lacking[:5])}" + ", ..." * (len(lacking) > 5)]
        what = f"{self.labels.sum(1).mean():.2f} of {len(self.class_names)} labels on average"
        self.summary = self.summary_of(what, notes if lacking else ())

    def __getitem__(self, index: int) -> MultilabelExample:
        index = range(len(self))[index]
        return {
            "image": read_content(self.root / self.name(index)),
            "labels": self.labels[index],
            "name": self.name(index),
        }
