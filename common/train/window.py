"""The steps between two logs: their metrics, and where the time went."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from common.errors import UserError

# With `not_finite="skip"`, a run that skips so many steps in a row is beyond hope.
_MOST_SKIPPED = 50


class NotFiniteError(UserError):
    """The loss or a gradient is NaN or infinite.

    Attributes:
      found: which metric, and its value.
      step: when.
    """

    def __init__(self, found: str, advice: str, step: int):
        super().__init__(f"{found}: {advice}")
        self.found, self.step = found, step


class MetricsWindow:
    """Collects the metrics of steps, which may still be under way, until they are logged.

    Args:
      workdir: the run directory, for messages.
      clock: seconds that only grow.
    """

    def __init__(self, workdir: str, clock: Callable[[], float]):
        self._workdir, self._clock = workdir, clock
        self._skipped = 0
        self.restart()

    def restart(self) -> None:
        """Begins anew, as after a log."""
        self._metrics: list[dict[str, Any]] = []
        self._timed = 0
        self._waited, self._started = 0.0, self._clock()

    def add(self, metrics: dict[str, jax.Array], waited: float) -> None:
        """Takes the metrics of a step, and the seconds it waited for data."""
        self._metrics.append(metrics)
        self._timed += 1
        self._waited += waited

    def add_first(self, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of a process's first step, which is like no other: it is not timed."""
        self._metrics.append(metrics)
        self._started = self._clock()

    def await_last(self) -> None:
        """Waits for the last step that was added."""
        jax.block_until_ready(self._metrics[-1:])

    def leave_out(self, seconds: float) -> None:
        """Does not count time, as that of an evaluation."""
        self._started += seconds

    def means(self, batch_size: int) -> dict[str, float]:
        """Returns the means over the steps, their rate and the share of waiting for data; without
        the latter two where no step was timed.

        Steps that were skipped, as their loss or gradient is not finite, count as `skipped` alone.
        """
        window = [{"loss": m["loss"], **m} for m in jax.device_get(self._metrics)]  # shown first
        done = [metrics for metrics in window if not metrics.get("skipped")]
        means = {key: float(np.mean([m[key] for m in done])) for key in (done[0] if done else ())}
        if "skipped" in window[0]:
            means["skipped"] = 1 - len(done) / len(window)
        for metrics in window:
            self._skipped = self._skipped + 1 if metrics.get("skipped") else 0
        if not self._timed:
            return means
        elapsed = self._clock() - self._started
        rate = {"images_per_second": self._timed * batch_size / elapsed}
        return means | rate | {"data_wait": self._waited / elapsed}

    def check(self, means: dict[str, float], step: int) -> None:
        """Raises UserError if a mean is not finite, or too many steps in a row were skipped."""
        advice = (
            f"the run stops; its checkpoints are kept in {self._workdir}. Try a lower"
            " config.optimizer.learning_rate or a config.optimizer.clip_norm, in another --workdir"
        )
        for name, value in means.items():
            if not math.isfinite(value):
                raise NotFiniteError(f"train/{name} is {value} at step {step}", advice, step)
        if self._skipped >= _MOST_SKIPPED:
            raise UserError(
                f"the last {self._skipped} steps up to {step} were skipped, as their loss or"
                f" gradient is not finite: {advice}"
            )
