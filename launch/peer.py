"""The same model of timm in a process of another Python, one repetition at a time."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

from common.config import require
from common.errors import UserError

MODES = ("eager", "channels_last", "compile")
_ANY_SIZE = re.compile("(poolformer|poolformerv2|caformer|convformer)_[a-z][0-9]+")
_MAXVIT, _MAXVIT_SIZE = re.compile("maxvit_[a-z]+"), 224  # at others its windows differ from ours
_PATIENCE = 30  # seconds that a peer which failed has to end
_SCRIPT = Path(__file__).parent / "tools" / "benchmark_timm.py"


def has_peer(model: str, size: int) -> bool:
    """Whether timm has a model of ours for images of a side."""
    of_size = _MAXVIT.fullmatch(model) and size == _MAXVIT_SIZE
    return bool(of_size or _ANY_SIZE.fullmatch(model))


def is_installed() -> bool:
    """Whether this Python has PyTorch and timm."""
    return all(map(find_spec, ("timm", "torch")))


class Peer:
    """A model of timm, compiled and warm.

    Args:
      python: of an environment with PyTorch and timm; None: this one.
      model: our name of it.
      peer_mode: one of `MODES`; all but `"eager"` keep channels last.
      size: side of the images in pixels.
      limit: seconds after which it is ended; None: never.
      **work: `batch`, `mode`, `dtype` and `warmup` of launch.benchmark.

    Raises:
      UserError: there is no such model, or the environment doesn't have what it takes.
    """

    def __init__(
        self,
        python: str | None,
        model: str,
        peer_mode: str,
        *,
        size: int,
        limit: float | None = None,
        **work: str | int,
    ):
        none = f"timm has no {model} for {size} pixels: leave --peer_python and --compare out"
        require(has_peer(model, size), none)
        if python is None:
            missing = "timm isn't installed here: --peer_python=<a Python that has it>"
            require(is_installed(), missing)
        name = f"{model}_tf_{size}" if _MAXVIT.fullmatch(model) else model
        flags = {"model": name, "peer_mode": peer_mode, "size": size, **work}
        command = [python or sys.executable, str(_SCRIPT)]
        command += [f"--{flag}={value}" for flag, value in flags.items()]
        # What other runs left compiled would shorten the first repetition.
        environment = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", **os.environ}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  until it is closed
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                env=environment,
                start_new_session=True,  # what compiles for it ends with it
            )
        except OSError as error:
            self._said.close()
            raise UserError(f"can't run {python}: {error.strerror}") from error
        self._end = threading.Timer(limit, self._kill) if limit else None
        if self._end:
            self._end.start()
        try:
            lines = iter(self._process.stdout.readline, "")
            ready = next((line for line in lines if line.startswith("ready ")), None)
            if ready is None:
                raise self._failure(f"the peer did not start: {' '.join(command)}")
        except BaseException:
            self.close()
            raise
        self.first_seconds = float(ready.split()[1])  # of the first repetition, which compiles

    def close(self) -> None:
        """Ends the process."""
        if self._end:
            self._end.cancel()
        with self._said, self._process:
            self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def repetition(self, count: int = 1) -> float:
        """Runs as many repetitions, one after the other, and returns their seconds.

        Raises:
          UserError: the peer failed at it.
        """
        try:
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise self._failure("the peer failed") from error

    def _failure(self, what: str) -> UserError:
        """With the last line that it said."""
        ended = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            ended = self._process.wait(_PATIENCE)
        self._said.seek(0)
        said = [line.strip() for line in self._said.read().splitlines() if line.strip()]
        if ended is not None and ended < 0:
            said = [f"ended by signal {-ended}, for want of time or memory if that is 9"]
        return UserError(f"{what}: {said[-1] if said else 'it gives no reason'}")
