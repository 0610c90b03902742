"""Stopping when asked to: SIGTERM of a scheduler, or Ctrl-C."""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# JAX's agreement between processes wants growing numbers, over all runs of a process.
_questions = itertools.count(1)


class Stopped(Exception):
    """Raised where work is cut short because the run was asked to stop."""


class StopRequest:
    """Turns a first SIGTERM or SIGINT into a request; a second one does what it did before.

    A context manager that listens from `listen()` on: until there is something to save, signals do
    what they did before. With several processes it listens from the start, and a signal to one of
    them stops all at the same step or evaluation batch: JAX's coordination service catches SIGTERM,
    and SIGINT is passed on as SIGTERM. Outside the main thread, where Python allows no signal
    handlers, they do what they did before.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if jax.process_count() > 1:
            self.listen()
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

    def reached(self) -> bool:
        """Whether to stop here: the same answer in all processes, which must ask equally often."""
        if jax.process_count() == 1:
            return self.signal is not None
        if not multihost_utils.reached_preemption_sync_point(next(_questions)):
            return False
        self.signal = self.signal or signal.SIGTERM
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:  # the next one ends this process
                self._previous.setdefault(number, signal.signal(number, signal.SIG_DFL))
        return True

    def cut_short(self, *_) -> None:
        """Raises `Stopped` after a request, in all processes: for use within a step."""
        if self.reached():
            raise Stopped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            self.__exit__()
            os.kill(os.getpid(), number)
            return
        self.signal = signal.Signals(number)
        if jax.process_count() > 1:
            signal.signal(number, signal.SIG_DFL)  # the next one ends this process
            os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def leave_when_asked() -> Iterator[None]:
    """Ends the process at once on SIGTERM or SIGINT: a first that nobody else takes, or a second.

    For a command that trains in one process, in its main thread: a run has nothing to save until
    `StopRequest` listens, so a first one gives status 0; a second gives 128 and its number. A
    thread waits for them, as Python's handlers would only run after a compilation under way.
    """
    received, woken = socket.socketpair()
    woken.setblocking(False)
    taken = threading.Event()

    def handler(*_) -> None:
        taken.set()

    def wait() -> None:
        with received:
            number = received.recv(1)
            if number and (signal.getsignal(number[0]) is handler or taken.is_set()):
                name = signal.Signals(number[0]).name
                print(f"stopped by {name}, with nothing to save: the same command goes on")
                sys.stdout.flush()
                os._exit(0)
            if number and (number := received.recv(1)):
                os._exit(128 + number[0])

    threading.Thread(target=wait, name="leave when asked", daemon=True).start()
    fd = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, was in previous.items():
            signal.signal(number, was)
        signal.set_wakeup_fd(fd)
        woken.close()
