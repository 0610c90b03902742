"""News of what takes long: while something is under way, no 15 seconds pass without a line.

with announced("compiling the training step", "compiled"):
    program.compile()

prints nothing if that takes a moment, and else

    compiling the training step
    still compiling the training step, 10 s
    compiled in 17 s
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import jax

Clock = Callable[[], float]

_SILENCE = 10.0  # seconds; a thread that is late by some still keeps to 15
_MOMENT = 1.0  # what takes less is not worth a line
_LONG = 5.0  # from then on it is worth another to say that it is done
_under_way: list["Activity"] = []  # the innermost one last: it alone speaks


class Activity:
    """Something long, as a context manager: prints a line whenever none was shown for 10 seconds.

    Args:
      line: gives the line.
      quiet: print nothing; nor do processes other than the first.
      clock: seconds that only grow.
    """

    def __init__(
        self,
        line: Callable[[], str],
        *,
        quiet: bool = False,
        clock: Clock = time.monotonic,
    ):
        self._line, self._clock = line, clock
        self._quiet = quiet or _is_another_process()
        self._away = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._started = self._heard = clock()

    def __enter__(self) -> Self:
        self._outer = _under_way[-1] if _under_way else None
        _under_way.append(self)
        self._started = self._heard = self._clock()
        if self._outer:  # silence began before
            self._heard = self._outer._heard
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if not self._quiet:
            self._thread.join()
        _under_way.remove(self)
        if self._outer:
            self._outer._heard = self._heard
            self._outer._away += self._uncounted()

    def seconds(self) -> float:
        """Returns the seconds since it began, but for what was `announced` in it: a rate or an
        estimate made of them knows of no compilation."""
        return self._clock() - self._started - self._away

    def heard(self) -> None:
        """Takes notice of a line that something else has shown."""
        self._heard = self._clock()

    def speak_if_due(self) -> None:
        """Prints the line if it is time to; a thread asks for it."""
        if self._remaining() > 0:
            return
        if _under_way[-1] is self:
            say(self._line())
        self.heard()

    def _uncounted(self) -> float:
        return self._away

    def _remaining(self) -> float:
        return self._heard + _SILENCE - self._clock()

    def _watch(self) -> None:
        while not self._over.wait(max(self._remaining(), 0.2)):
            self.speak_if_due()


class _Announced(Activity):
    """An activity that says when it begins and how long it has taken."""

    def __init__(self, doing: str, clock: Clock):
        super().__init__(self._next_line, clock=clock)
        self._doing = doing
        self.has_spoken = False

    def took(self) -> float:
        """Returns the seconds since it began."""
        return self._clock() - self._started

    def _next_line(self) -> str:
        if self.has_spoken:
            return f"still {self._doing}, {self.took():.0f} s"
        self.has_spoken = True
        return self._doing

    def _uncounted(self) -> float:
        return self.took()

    def _remaining(self) -> float:
        return super()._remaining() if self.has_spoken else _MOMENT - self.took()


@contextlib.contextmanager
def announced(
    doing: str, done: str = "done", *, clock: Clock = time.monotonic
) -> Iterator[Activity]:
    """Says that something is under way, that it still is, and how long it has taken.

    Args:
      doing: such as "compiling the training step".
      done: such as "compiled".
      clock: seconds that only grow.
    """
    with _Announced(doing, clock) as activity:
        yield activity
    if activity.has_spoken and activity.took() >= _LONG:
        say(f"{done} in {activity.took():.0f} s")


def _is_another_process() -> bool:
    # In this order: asking for the index alone would start the devices.
    return jax.distributed.is_initialized() and jax.process_index() > 0


def say(line: str) -> None:
    """Prints a line at once, whole even where several threads do; above a live view if there is
    one."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
