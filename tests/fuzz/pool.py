"""Cases in processes of their own, which may hang, crash and eat memory as far as they are let."""

import dataclasses
import gc
import json
import os
import random
import resource
import select
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from common.errors import UserError
from tests.fuzz.damages import CONTENT, damage
from tests.fuzz.kinds import KINDS, Kind

SECONDS = 60.0  # for a case
MOST_BYTES = 1 << 30  # that a case may take, beside what all take
_ADDRESSES = 16 << 30  # so that the machine is spared
_LONGEST_LINE = 2000  # characters of a message


@dataclasses.dataclass(frozen=True)
class Case:
    """One damaged file: all of it follows from these."""

    kind: str
    seed: int
    number: int


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a case.

    Attributes:
      case: which.
      outcome: `"read"` or `"refused"` in one line; anything else is a failure.
      told: the damage, and the line.
    """

    case: Case
    outcome: str
    told: str

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.outcome not in ("read", "refused")


def run_cases(cases: Sequence[Case]) -> Iterator[Result]:
    """Yields what becomes of cases, each within the limits on time and memory.

    Processes do several cases in turn; what takes one with it costs only the case under way.
    """
    with tempfile.TemporaryDirectory() as folder:
        originals = Path(folder) / "originals"
        _in_fork(lambda: _make(originals, {case.kind for case in cases}))
        todo = list(cases)
        while todo:
            for result in _some(todo, originals):
                yield result
                todo = todo[1:]


def _make(folder: Path, kinds: set[str]) -> None:
    for kind in sorted(kinds):
        (folder / kind).mkdir(parents=True)
        KINDS[kind].make(folder / kind)
        (folder / f"{kind}.content").write_text(json.dumps(KINDS[kind].read(folder / kind)))


def _in_fork(do) -> None:
    child = _fork(do)
    assert os.waitpid(child, 0)[1] == 0, "the originals can't be made or read"


def _fork(do) -> int:
    gc.freeze()
    child = os.fork()
    if child:
        return child
    logging.set_verbosity(logging.ERROR)
    try:
        do()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _some(cases: Sequence[Case], originals: Path) -> Iterator[Result]:
    """Results of the first cases, until one takes its process with it."""
    reads, writes = os.pipe()

    def work() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with Path("/proc/self/statm").open() as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + _ADDRESSES,) * 2)
        for case in cases:
            line = json.dumps(_try(case, originals)) + "\n"
            os.write(writes, line.encode())

    child = _fork(work)
    os.close(writes)
    done = 0
    with os.fdopen(reads) as lines:
        while done < len(cases):
            if not select.select([lines], [], [], SECONDS)[0]:
                yield Result(cases[done], "hung", f"no end in {SECONDS:g} s")
                break
            line = lines.readline()
            if not line:
                yield Result(cases[done], "died", "its process ended")
                break
            result = Result(cases[done], *json.loads(line))
            yield result
            done += 1
            if result.outcome == "memory":  # its peak would hide those of the next
                break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _try(case: Case, originals: Path) -> tuple[str, str]:
    """Returns outcome, and what is told of it."""
    kind, rng = KINDS[case.kind], random.Random(f"{case.seed} {case.kind} {case.number}")
    before = _peak()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case"
        shutil.copytree(originals / case.kind, place)
        name, how = damage(place, rng, instead=kind.is_path)
        same = json.loads((originals / f"{case.kind}.content").read_text())
        outcome, line = _read(kind, place, same if how in CONTENT else None, name)
    taken = _peak() - before
    if taken > MOST_BYTES:
        outcome, line = "memory", f"{taken:,} bytes; {outcome}: {line}"
    return outcome, f"{name} {how}: {line}"


def _read(kind: Kind, place: Path, same: object, name: str) -> tuple[str, str]:
    try:
        content = kind.read(place)
    except UserError as error:
        line = str(error)
        plain = line.isprintable() and len(line) <= _LONGEST_LINE
        return "refused" if plain else "no line", line[:_LONGEST_LINE]
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}"[
            :500
        ]
    # Configs are not summed up: they may be edited.
    if kind.checked and same is not None and content != same and not name.endswith(".json"):
        return "wrong", "other weights than were written"
    return "read", ""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def cases_of(seed: int, count: int, kinds: Sequence[str] = tuple(KINDS)) -> list[Case]:
    """Returns as many cases, of all kinds alike."""
    return [Case(kinds[i % len(kinds)], seed, i // len(kinds)) for i in range(count)]
