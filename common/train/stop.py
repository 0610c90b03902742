"""Stopping when asked to: SIGTERM of a scheduler, or Ctrl-C."""

import os
import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Raised where work is cut short because the run was asked to stop."""


class StopRequest:
    """Turns a first SIGTERM or SIGINT into a request; a second one ends the process at once.

    A context manager that listens from `listen()` on: until there is something to save, signals do
    what they did before, even while a program is being compiled. With several processes a signal to
    one of them stops all at the same step: JAX's coordination service catches SIGTERM, and SIGINT
    is passed on as SIGTERM. Outside the main thread, where Python allows no signal handlers, they
    do what they did before.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def listen(self) -> None:
        """Takes signals as requests from now on."""
        if self._previous or threading.current_thread() is not threading.main_thread():
            return
        several = jax.process_count() > 1
        for number in SIGNALS:
            if not (several and number == signal.SIGTERM):  # JAX's own
                self._previous[number] = signal.signal(number, self._receive)

    def reached(self, step: int) -> bool:
        """Whether the run ends after this step: the same answer in all processes."""
        if jax.process_count() == 1:
            return self.signal is not None
        if not multihost_utils.reached_preemption_sync_point(step):
            return False
        self.signal = self.signal or signal.SIGTERM
        for number in SIGNALS:  # the next one ends this process
            signal.signal(number, signal.SIG_DFL)
        return True

    def cut_short(self, *_) -> None:
        """Raises `Stopped` after a request, within a step; with several processes never."""
        if self.signal is not None and jax.process_count() == 1:
            raise Stopped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for listened in self._previous:  # the next one ends this process, whatever it is doing
            signal.signal(listened, signal.SIG_DFL)
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
