"""Progress of long work: a live line on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from common.news import Activity, Clock

_COLUMNS = 80
_SECONDS_BETWEEN_LINES = 10
_SHOWN_AS = {"images_per_second": "images/s", "learning_rate": "lr"}


class ProgressReport:
    """Shows step, metrics, images/s, ETA and the share of time spent waiting for data.

    Use as a context manager; `log` prints a line above the live view. A line is shown at least
    every 10 seconds, whether or not something was reported. The ETA is of the pace since the first
    step, without what was `announced` (`common.news`), such as compilations.

    Args:
      total: where the work ends.
      first: where this process starts.
      unit: what is counted.
      epoch: how many make an epoch, to show epochs too if there are any.
      quiet: show nothing (processes other than the first).
      clock: seconds that only grow.
    """

    def __init__(
        self,
        total: int,
        first: int = 0,
        *,
        unit: str,
        epoch: float | None = None,
        quiet: bool = False,
        clock: Clock = time.monotonic,
    ):
        self._total, self._unit, self._epoch, self._quiet = total, unit, epoch, quiet
        self._console = Console(file=sys.stdout, quiet=quiet, highlight=False, soft_wrap=True)
        self._activity = Activity(self._line, quiet=quiet, clock=clock)
        self._at, self._began = first, None
        self._live = None
        if self._console.is_terminal and not quiet:
            self._live = Progress(
                TextColumn("{task.fields[where]}"),
                BarColumn(bar_width=12),
                _MetricsColumn(),
                TextColumn("{task.fields[eta]}"),
                console=self._console,
            )
            fields = {"where": self._where(), "eta": ""}
            self._task = self._live.add_task(unit, total=total, completed=first, **fields)

    def __enter__(self) -> "ProgressReport":
        self._activity.__enter__()
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        self._activity.__exit__()
        if self._live:
            self._live.stop()

    def seconds(self) -> float:
        """Returns the seconds since it began, without what was announced."""
        return self._activity.seconds()

    def rate(self) -> float | None:
        """Returns how many were done per second since the first one was; None before a second."""
        if self._began is None or self._at == self._began[0]:
            return None
        done, elapsed = self._at - self._began[0], self.seconds() - self._began[1]
        return done / elapsed if elapsed > 0 else None

    def advance(self, step: int) -> None:
        """Takes notice of what is done, and moves the live bar."""
        self._at = step
        if self._began is None:
            self._began = step, self.seconds()
        if self._live:
            self._live.update(self._task, completed=step, where=self._where(), eta=self._eta())
            self._activity.heard()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the metrics of a step: in the live line, or as a plain line."""
        self.advance(step)
        parts = [
            f"{_SHOWN_AS.get(key, key)} {figure(value)}"
            for key, value in ((name.split("/")[-1], value) for name, value in values.items())
        ]
        if self._live:
            self._live.update(self._task, metrics="  ".join(parts))
        else:
            self.log(in_columns([self._where(), *parts, self._eta()]))

    def log(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(line, markup=False)
        self._activity.heard()
        if not self._quiet:
            self._console.file.flush()

    def _line(self) -> str:
        return in_columns([self._where(), self._eta()])

    def _where(self) -> str:
        if self._at > self._total:  # an unknown or estimated total
            return f"{self._unit} {self._at}"
        text = f"{self._unit} {self._at}/{self._total}"
        if self._epoch is None or self._total < self._epoch:
            return text
        return f"{text}  epoch {self._at / self._epoch:.1f}/{self._total / self._epoch:.1f}"

    def _eta(self) -> str:
        if self._at > self._total or not (rate := self.rate()):
            return ""
        return f"ETA {_clock_time((self._total - self._at) / rate)}"


class Pace:
    """Shows how far the work is and how fast it goes, as text every few seconds.

    Args:
      progress: where it is shown.
      total: where the work ends; may be an estimate.
    """

    def __init__(self, progress: ProgressReport, total: int):
        self._progress, self._total = progress, total
        self._shown = progress.seconds()

    def __call__(self, done: int) -> None:
        """Shows how many images are done."""
        self._progress.advance(done)
        if self._is_due() or done == self._total:
            rate = self._progress.rate()
            self._progress.metrics(done, {"images_per_second": rate} if rate else {})
            self._shown = self._progress.seconds()

    def part(self, name: str, done: int, total: int) -> None:
        """Shows how many tiles of a large image are done."""
        if self._is_due():
            self._progress.log(f"{name}: tile {done}/{total}")
            self._shown = self._progress.seconds()

    def _is_due(self) -> bool:
        return self._progress.seconds() - self._shown > _SECONDS_BETWEEN_LINES


class _MetricsColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("metrics", ""))


def figure(value: float) -> str:
    """Returns a number as text: a count whole, anything else with four digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def in_columns(parts: Iterable[str]) -> str:
    """Joins the parts that aren't empty, in lines of at most 80 columns unless a part is longer."""
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and len(lines[-1]) + 2 + len(part) <= _COLUMNS:
            lines[-1] += f"  {part}"
        else:
            lines.append(f"  {part}" if lines else part)
    return "\n".join(lines)


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
