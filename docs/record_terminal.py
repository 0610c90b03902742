"""Records a terminal: `python -m docs.record_terminal` trains on digits and predicts some.

The commands run as they stand here, in an empty folder, and `images/terminal.svg` shows what they
print, line by line, ten times as fast. Where SVG doesn't move, all lines are there at once.
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.text import Text

from common.data.images import decode
from common.data.sources import digits_source

TARGET = Path(__file__).parent / "images" / "terminal.svg"
TITLE = "multi-axis-jax"
COMMANDS = (
    "multi-axis train --config=maxvit_digits --workdir=runs/digits",
    "multi-axis predict --workdir=runs/digits --input=scans --top=2",
)
ENTRY = "from launch.cli import main; main()"  # which multi-axis calls
SCANS, WIDTH, SPEED = 5, 100, 10
FIRST, LAST = 8, 18  # lines of a command's output that are shown if there are more


class Line(NamedTuple):
    """A line, and how many seconds after the beginning it came."""

    text: Text
    seconds: float


def record(folder: Path) -> list[Line]:
    """Runs the commands in a folder; returns what a terminal shows, long output cut short."""
    lines, start = [], time.monotonic()
    for command in COMMANDS:
        lines.append(Line(Text(f"$ {command}", "bold"), time.monotonic() - start))
        call = [sys.executable, "-c", ENTRY, *command.split()[1:]]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(call, cwd=folder, **pipe) as process:
            shown = [Line(Text(s.rstrip()), time.monotonic() - start) for s in process.stdout]
        if process.returncode:
            raise SystemExit("\n".join(line.text.plain for line in shown))
        if middle := shown[FIRST:-LAST]:
            note = Text(f"... {len(middle)} lines ...", "dim")
            shown[FIRST:-LAST] = [Line(note, middle[0].seconds)]
        lines += shown
    return lines


def drawn(lines: list[Line]) -> str:
    """Returns an SVG in which every line appears when it came."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    delays = []
    for line in lines:
        rows = line.text.wrap(console, WIDTH)
        delays += [line.seconds / SPEED] * len(rows)
        console.print(*rows, sep="\n")
    svg = console.export_svg(title=TITLE, unique_id="terminal")
    # Hidden while the animation lasts, and as ever afterwards or where there is none.
    rules = [
        f'text[clip-path$="line-{row})"] {{ animation: wait {delay:.1f}s }}'
        for row, delay in enumerate(delays)
        if delay >= 0.1
    ]
    style = "\n".join(["@keyframes wait { from, to { visibility: hidden } }", *rules])
    svg = re.sub(r"\s*@font-face {.*?}", "", svg, flags=re.DOTALL)  # which would be fetched
    return re.sub(r"(?=</style>)", f"{style}\n", svg, count=1)


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as place:
        folder, source = Path(place), digits_source("test")
        (folder / "scans").mkdir()
        for index in range(SCANS):
            image = Image.fromarray(decode(source[index]["image"]))
            image.save(folder / "scans" / f"{index}.png")
        TARGET.write_text(drawn(record(folder)))


if __name__ == "__main__":
    main()
