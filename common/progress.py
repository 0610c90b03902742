"""Progress of long work: a live line on a terminal, plain lines otherwise."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress import TimeRemainingColumn as ETAColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10


class ProgressReport:
    """Shows step, metrics, images/s, ETA and the share of time spent waiting for data.

    Use as a context manager; `log` prints a line above the live view.

    Args:
      total: where the work ends.
      first: where this process starts.
      unit: what is counted.
      quiet: show nothing (processes other than the first).
    """

    def __init__(self, total: int, first: int = 0, *, unit: str, quiet: bool = False):
        self._total, self._unit, self._quiet = total, unit, quiet
        self._console = Console(file=sys.stdout, quiet=quiet, highlight=False, soft_wrap=True)
        self._live = None
        self._started, self._first = time.monotonic(), first
        if self._console.is_terminal and not quiet:
            self._live = Progress(
                TextColumn(unit + " {task.completed}/{task.total}"),
                BarColumn(bar_width=12),
                _MetricsColumn(),
                TextColumn("ETA"),
                ETAColumn(),
                console=self._console,
            )
            self._task = self._live.add_task(unit, total=total, completed=first)

    def __enter__(self) -> "ProgressReport":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def advance(self, step: int) -> None:
        """Moves the live bar."""
        if self._live:
            self._live.update(self._task, completed=step)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Shows the metrics of a step: in the live line, or as a plain line."""
        text = "  ".join(f"{name.split('/')[-1]} {value:.4g}" for name, value in values.items())
        if self._live:
            self._live.update(self._task, completed=step, metrics=text)
            return
        done = step - self._first
        elapsed = time.monotonic() - self._started
        if step > self._total:  # an unknown or estimated total
            self.log(f"{self._unit} {step}  {text}")
            return
        eta = (self._total - step) * elapsed / max(done, 1)
        self.log(f"{self._unit} {step}/{self._total}  {text}  ETA {_clock(eta)}")

    def log(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(line, markup=False)
        if not self._quiet:
            self._console.file.flush()


class Pace:
    """Shows how far the work is and how fast it goes, as text every few seconds.

    Args:
      progress: where it is shown.
      total: where the work ends; may be an estimate.
    """

    def __init__(self, progress: ProgressReport, total: int):
        self._progress, self._total = progress, total
        self._started = self._shown = time.monotonic()

    def __call__(self, done: int) -> None:
        """Shows how many images are done."""
        self._progress.advance(done)
        if self._is_due() or done == self._total:
            rate = done / (time.monotonic() - self._started)
            self._progress.metrics(done, {"images_per_second": rate})
            self._shown = time.monotonic()

    def part(self, name: str, done: int, total: int) -> None:
        """Shows how many tiles of a large image are done."""
        if self._is_due():
            self._progress.log(f"{name}: tile {done}/{total}")
            self._shown = time.monotonic()

    def _is_due(self) -> bool:
        return time.monotonic() - self._shown > _SECONDS_BETWEEN_LINES


class _MetricsColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("metrics", ""))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
