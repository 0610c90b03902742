"""The same model of timm in a process of another Python, one repetition at a time."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from common.config import require
from common.errors import UserError

MODES = ("eager", "channels_last", "compile")
_MODELS = ("maxvit_", "poolformer_", "poolformerv2_", "caformer_", "convformer_")
_SCRIPT = Path(__file__).parent / "tools" / "benchmark_timm.py"


def has_peer(model: str) -> bool:
    """Whether timm has a model of ours."""
    return model.startswith(_MODELS)


class Peer:
    """A model of timm, compiled and warm.

    Args:
      python: of an environment with PyTorch and timm; None: this one.
      model: our name of it.
      peer_mode: one of `MODES`; all but `"eager"` keep channels last.
      size: side of the images in pixels.
      **work: `batch`, `mode`, `dtype` and `warmup` of launch.benchmark.

    Raises:
      UserError: there is no such model, or the environment doesn't have what it takes.
    """

    def __init__(
        self, python: str | None, model: str, peer_mode: str, *, size: int, **work: str | int
    ):
        require(has_peer(model), f"timm has no {model}: leave --peer_python out")
        if python is None:
            there = all(map(find_spec, ("timm", "torch")))
            require(there, "timm isn't installed here: --peer_python=<a Python that has it>")
        name = f"{model}_tf_{size}" if model.startswith("maxvit_") else model
        flags = {"model": name, "peer_mode": peer_mode, "size": size, **work}
        command = [python or sys.executable, str(_SCRIPT)]
        command += [f"--{flag}={value}" for flag, value in flags.items()]
        # What other runs left compiled would shorten the first repetition.
        environment = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", **os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise UserError(f"can't run {python}: {error.strerror}") from error
        ready, _, seconds = self._process.stdout.readline().partition(" ")
        require(ready == "ready", f"the peer did not start: {' '.join(command)}")
        self.first_seconds = float(seconds)  # of the first repetition, which compiles

    def close(self) -> None:
        """Ends the process."""
        with self._process:
            self._process.kill()

    def repetition(self) -> float:
        """Runs one repetition and returns its seconds."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())
