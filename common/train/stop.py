"""Stopping when asked to: SIGTERM of a scheduler, or Ctrl-C."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax

from common.train.agreement import Agreement, request_stop

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Set where signals may end the process: see `leave_when_asked`.
_may_leave = threading.Event()


class Stopped(Exception):
    """Raised where work is cut short because the run was asked to stop."""


class StopRequest:
    """Turns a first SIGTERM or SIGINT into a request; a second one does what it did before.

    A context manager. In one process it listens from `listen()` on: until there is something to
    save, signals do what they did before. With several processes it listens from the start, and a
    signal to one of them stops all at the same step or evaluation batch. Outside the main thread,
    where Python allows no signal handlers, signals do what they did before.

    Attributes:
      signal: the one that `reached` found, in this or another process.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._received: signal.Signals | None = None
        self._previous = {}
        self._agreement: Agreement | None = None

    def __enter__(self) -> "StopRequest":
        if jax.process_count() > 1:
            self._agreement = Agreement(_leave_together if _may_leave.is_set() else None)
            self._take_signals()
        return self

    def __exit__(self, *_) -> None:
        self._give_back_signals()
        if self._agreement:
            self._agreement.close()

    def listen(self) -> None:
        """Takes signals as requests from now on."""
        self._take_signals()
        if self._agreement:
            self._agreement.begin()

    def reached(self) -> bool:
        """Whether to stop here: the same answer in all processes, which must ask equally often."""
        if self._agreement is None:
            self.signal = self._received
        elif self._agreement.reached():
            self.signal = signal.Signals[self._agreement.reason]
        return self.signal is not None

    def cut_short(self, *_) -> None:
        """Raises `Stopped` after a request, in all processes: for use within a step."""
        if self.reached():
            raise Stopped

    def _take_signals(self) -> None:
        if not self._previous and threading.current_thread() is threading.main_thread():
            self._previous = {n: signal.signal(n, self._receive) for n in SIGNALS}

    def _give_back_signals(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            self._give_back_signals()
            os.kill(os.getpid(), number)
            return
        self._received = signal.Signals(number)
        if self._agreement:
            request_stop(self._received.name)


@contextlib.contextmanager
def leave_when_asked() -> Iterator[None]:
    """Ends the process at once on SIGTERM or SIGINT: a first that nobody else takes, or a second.

    For a command that trains in its main thread: a run has nothing to save until `StopRequest`
    listens, so a first one gives status 0, in all processes; a second gives 128 and its number. A
    thread waits for them, as Python's handlers would only run after a compilation under way.
    """
    received, woken = socket.socketpair()
    woken.setblocking(False)
    taken = threading.Event()

    def handler(*_) -> None:
        taken.set()

    def first(number: int) -> None:
        name = signal.Signals(number).name
        if jax.distributed.is_initialized() and jax.process_count() > 1:
            request_stop(name)
        elif signal.getsignal(number) is handler or taken.is_set():
            _leave(name)

    def wait() -> None:
        with received:
            if number := received.recv(1):
                # The request may have to wait for the network; a second signal must not.
                threading.Thread(target=first, args=[number[0]], daemon=True).start()
                if number := received.recv(1):
                    os._exit(128 + number[0])

    threading.Thread(target=wait, name="leave when asked", daemon=True).start()
    fd = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    _may_leave.set()
    try:
        yield
    finally:
        _may_leave.clear()
        for number, was in previous.items():
            signal.signal(number, was)
        signal.set_wakeup_fd(fd)
        woken.close()


def _leave_together(name: str) -> None:
    jax.distributed.shutdown()  # waits for all: who lost the first one would end with an error
    _leave(name if jax.process_index() == 0 else None)


def _leave(name: str | None) -> None:
    if name:
        print(f"stopped by {name}, with nothing to save: the same command goes on")
        sys.stdout.flush()
    os._exit(0)
