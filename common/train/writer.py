"""What a run leaves to look at: metrics.jsonl, TensorBoard events and PNG samples."""

import json
import math

import numpy as np
from absl import logging
from etils import epath

from common.pictures import save_png
from common.train.events import EventFile
from common.train.run_directory import place_aside

METRICS_FILE = "metrics.jsonl"


class Writer:
    """Writes scalars and pictures of one run.

    Args:
      workdir: the run directory.
      step: the step the run starts from; metrics logged after it, by a run that was cut off later
        than its last checkpoint, are dropped from the metrics file. So are lines that can't be
        read, but then `damaged/` gets a copy of the file first.
      quiet: write nothing (processes other than the first).
    """

    def __init__(self, workdir: str, step: int = 0, *, quiet: bool = False):
        self._root, self._quiet = epath.Path(workdir), quiet
        self._metrics = self._root / METRICS_FILE
        if not quiet:
            self._cut_back(step)
            self._events = EventFile(self._root)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Adds one line to metrics.jsonl (non-finite values as null), and points to TensorBoard."""
        if self._quiet:
            return
        finite = {k: _number(v) if math.isfinite(v) else None for k, v in values.items()}
        with self._metrics.open("a") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")
        self._events.scalars(step, values)

    def images(self, step: int, pictures: dict[str, np.ndarray]) -> None:
        """Writes uint8 `[height, width, 3]` pictures as samples/<name>_<step>.png and events."""
        if self._quiet:
            return
        folder = self._root / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            save_png(folder / f"{name}_{step:08d}.png", picture)
        self._events.images(step, pictures)

    def close(self) -> None:
        """Flushes and closes."""
        if not self._quiet:
            self._events.close()

    def _cut_back(self, step: int) -> None:
        if not self._metrics.exists():
            return
        *lines, last = self._metrics.read_bytes().split(b"\n")  # a killed run may have cut the last
        steps = [_step(line) for line in lines]
        if damaged := steps.count(None):
            copy = place_aside(self._root, METRICS_FILE)
            self._metrics.copy(copy)
            logging.warning(
                "%s: %d line(s) can't be read and are left out; the file as it was is %s",
                self._metrics,
                damaged,
                copy,
            )
        found = zip([*steps, _step(last)], [*lines, last], strict=True)
        kept = [line for at, line in found if at is not None and at <= step]
        temporary = self._root / f".{METRICS_FILE}.tmp"
        temporary.write_bytes(b"".join(line + b"\n" for line in kept))
        temporary.replace(self._metrics)


def _number(value: float) -> float:
    """Counts stay whole."""
    return value if isinstance(value, int) else float(value)


def _step(line: bytes) -> int | None:
    """The step of a line of metrics; None for what is none."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # no JSON, no UTF-8, no object
        return None
    return step if type(step) is int else None
