"""A trace of some steps, for TensorBoard's profiler."""

from types import TracebackType

import jax


class Profile:
    """Traces from one step to another, both included; ends with its block at the latest.

    Args:
      steps: first and last step, or nothing.
      folder: where the trace goes.
    """

    def __init__(self, steps: tuple[int, ...], folder: str):
        self._steps, self._folder, self._running = steps, folder, False

    def before(self, step: int) -> None:
        """Starts the trace if the step is the first one."""
        if self._steps[:1] == (step,):
            jax.profiler.start_trace(self._folder)
            self._running = True

    def after(self, step: int, *results: jax.Array | dict) -> None:
        """Ends the trace, when `results` are there, if the step was the last one."""
        if self._running and step >= self._steps[1]:
            jax.block_until_ready(results)
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running:
            self._stop()
