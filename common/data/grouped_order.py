"""In which order examples come that fall in groups, so that every batch is of one group.

A group is what can be stacked, such as images of one orientation on canvases of one shape. All
orders are computed, not drawn one after another: what comes at a position is known without what
came before.
"""

from typing import Any

import grain
import numpy as np

# A length for all purposes. grain computes with lengths as floats, where more would overflow.
ENDLESS = 2**53


class GroupedOrder(grain.MapDataset):
    """Positions in a source, endless: `batch_size` of one group, then as many of the next in turn.

    Every group has epochs of its own, each in another order, and its batches run over their ends:
    nothing is left out, and a group smaller than a batch fills one several times over. Groups take
    turns as evenly as their sizes allow. As many batches as there are examples make a cycle, in
    which every example comes `batch_size` times.

    Args:
      groups: int `[examples]`: the group of each.
      batch_size: examples of a batch.
      seed: of the order within groups.
    """

    def __init__(self, groups: np.ndarray, batch_size: int, seed: int):
        members = _members(groups)
        super().__init__([grain.MapDataset.source(one).seed(seed).shuffle() for one in members])
        self._batch_size = batch_size
        counts = [len(one) for one in members]
        # A group's `count` batches are due at the middles of as many equal parts of the cycle.
        rounds = np.concatenate([np.arange(count) for count in counts])
        due = (rounds + 0.5) / np.repeat(counts, counts)
        turns = np.argsort(due, kind="stable")
        self._round, self._group = rounds[turns], np.repeat(np.arange(len(counts)), counts)[turns]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        step, place = divmod(index, self._batch_size)
        cycle, turn = divmod(step, len(self._round))
        stream = self.parents[self._group[turn]]
        batch = cycle * len(stream) + int(self._round[turn])
        return stream[batch * self._batch_size + place]


def eval_order(groups: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns every position once, group by group, each filled up to whole batches.

    Args:
      groups: int `[examples]`: the group of each.
      batch_size: examples of a batch.

    Returns:
      int64 `[batches * batch_size]`: positions in the source; a filling is negative: `~position`
      of an example of the group.
    """
    parts = []
    for members in _members(groups):
        parts += [members, np.full(-len(members) % batch_size, ~members[0])]
    return np.concatenate(parts)


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The positions of every group."""
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]
