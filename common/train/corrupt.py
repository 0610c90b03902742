"""Unreadable examples: counted, named, and tolerated up to a limit."""

from typing import Any

import numpy as np
from absl import logging

from common.errors import UserError


class CorruptCounter:
    """Takes the bookkeeping keys out of batches and keeps count.

    Args:
      source: names examples.
      limit: unreadable examples that are tolerated.
    """

    def __init__(self, source: Any, limit: int):
        self._source, self._limit, self._seen = source, limit, set()

    @property
    def count(self) -> int:
        """Distinct unreadable examples seen."""
        return len(self._seen)

    def take(self, batch: dict[str, np.ndarray]) -> None:
        """Removes `index` and `corrupt` from a batch in place.

        Raises:
          UserError: the limit is passed; the message names the last file.
        """
        index, corrupt = batch.pop("index"), batch.pop("corrupt")
        for position in index[corrupt.astype(bool)].tolist():
            if position in self._seen:
                continue
            self._seen.add(position)
            name = self._source.name(position)
            if self.count > self._limit:
                raise UserError(
                    f"{name} is unreadable, number {self.count} of its kind, more than"
                    f" config.data.max_corrupt={self._limit}; mend the data or raise the limit"
                )
            logging.warning("%s is unreadable (%d of at most %d)", name, self.count, self._limit)
