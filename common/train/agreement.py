"""How several processes agree on where to stop."""

import contextlib
import threading
from collections.abc import Callable

import jax

_FOREVER = 2**40  # milliseconds: JAX ends us all when a process is silent

_run = 1  # the number of the run under way, or of the next: the same in all processes


def request_stop(reason: str) -> None:
    """Asks all processes to stop the run under way, or the next one as soon as it begins."""
    if (store := _store()) is None:  # all are leaving
        return
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        for index in range(jax.process_count()):
            store.key_value_set(_key("asked", index, _run), reason, allow_overwrite=True)


class Agreement:
    """Has all processes stop a run at the same question, once one of them asks for it.

    All ask `reached` at the same places of the run. `request_stop` wakes a thread in each of them,
    which holds back further answers until all have told how many they gave: they stop at the first
    question that none has passed.

    JAX has an agreement of its own (`multihost_utils.reached_preemption_sync_point`), for which it
    takes SIGTERM from the process for good. Then a second one can't end it, nor can a first one
    while a step is compiled.

    Attributes:
      reason: what `request_stop` was told; None before there is an agreement.
    """

    def __init__(self, leave: Callable[[str], None] | None = None):
        """Begins to listen.

        Args:
          leave: ends the process, given the reason; called in all of them where none has begun.
        """
        self.reason: str | None = None
        self._leave = leave
        self._run, self._store = _run, _store()
        self._hold = threading.Lock()
        self._begun = self._over = False
        self._given, self._last = 0, float("inf")
        self._thread = threading.Thread(target=self._agree, name="agreement", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Tells that from now on there is something to save."""
        with self._hold:
            self._begun = True

    def reached(self) -> bool:
        """Whether to stop here."""
        with self._hold:
            self._given += 1
            return self._given >= self._last

    def close(self) -> None:
        """Ends the part of this process, which asks no more: the others won't wait for it."""
        global _run
        with self._hold:  # for ever, should all be leaving
            self._over = True
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._tell("asked", "")
        self._thread.join()
        _run += 1

    def _agree(self) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # processes are gone; so is the run
            reason = self._told("asked", jax.process_index())
            with self._hold:
                self._tell("given", f"{self._given} {int(self._begun or self._over)}")
                if self._over:
                    return
                told = [self._told("given", i).split() for i in range(jax.process_count())]
                if self._leave and not any(int(begun) for _, begun in told):
                    self._leave(reason)
                self.reason, self._last = reason, max(int(given) for given, _ in told) + 1

    def _tell(self, what: str, value: str) -> None:
        key = _key(what, jax.process_index(), self._run)
        self._store.key_value_set(key, value, allow_overwrite=True)

    def _told(self, what: str, index: int) -> str:
        return self._store.blocking_key_value_get(_key(what, index, self._run), _FOREVER)


def _key(what: str, index: int, run: int) -> str:
    return f"multi_axis_jax/stop/{run}/{what}/{index}"


def _store():
    from jax._src import distributed  # it has no public name

    return distributed.global_state.client  # None once shut down
