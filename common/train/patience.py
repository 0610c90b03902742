"""Early stopping: a run ends when its evaluations no longer get better."""

import json
import math
from collections.abc import Iterable

from etils import epath

from common.train.writer import METRICS_FILE


class Patience:
    """Counts the evaluations since the best one.

    Args:
      limit: evaluations in a row that need not be better than the best before; None: any number.
      scores: of the evaluations that were before, in their order; larger is better.

    Attributes:
      best: score of the best evaluation, -inf before the first.
      waited: evaluations since then.
    """

    def __init__(self, limit: int | None, scores: Iterable[float] = ()):
        self._limit, self.best, self.waited = limit, -math.inf, 0
        for score in scores:
            self.take(score)

    def take(self, score: float) -> None:
        """Takes the score of one more evaluation; one that is not finite is no better."""
        if math.isfinite(score) and score > self.best:
            self.best, self.waited = score, 0
        else:
            self.waited += 1

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return self._limit is not None and self.waited >= self._limit


def logged_scores(workdir: str, metric: str, until: int) -> list[float]:
    """Returns what a run logged of a metric, in order, NaN where it was not finite.

    It is the same however often the run was interrupted: a step has one value.

    Args:
      workdir: the run directory.
      metric: such as `"eval/accuracy_top1"`.
      until: the last step that counts; what was logged later is done again.
    """
    path, found = epath.Path(workdir) / METRICS_FILE, {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            values = json.loads(line)
            if metric in values and values["step"] <= until:
                value = values[metric]
                found[values["step"]] = math.nan if value is None else float(value)
        except (ValueError, KeyError, TypeError):  # the writer puts such lines aside
            continue
    return [found[step] for step in sorted(found)]
