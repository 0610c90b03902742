"""What a platform is measured with, in one command: models, timm's beside them, and candidates.

Rows come in the order of what one wants to know first, each in a process of its own, and files are
written anew after every one: what is cut off, or ends with the budget, leaves what it has measured.
One that fails says why. timm's models come after ours, not in turn: both may not fit into a GPU.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from common.config import require
from common.errors import UserError, did_you_mean
from common.unfinished import write_bytes
from launch import benchmark_table as tables
from launch import peer
from launch.timed_program import repetitions_at_a_time

Row = tables.Row

KERNELS = "kernels"  # what --models calls them
# A row that begins later than so many seconds before the end would hardly come to its own.
_LEAST = 20
_ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # so that what was needed is seen
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92",
    "JAX_TRACEBACK_FILTERING": "off",  # so that a traceback ends with what was wrong
}


class Work(NamedTuple):
    """A model's row, or that of kernels.

    Attributes:
      model: its name, or `KERNELS`.
      mode: `"infer"` or `"train"`; of kernels both are measured.
      batch: images at once.
      size: side of the images in pixels; of kernels it says nothing.
      prefer: formulation that is preferred, `""` for the platform's; of kernels the one measured.
    """

    model: str
    mode: str
    batch: int
    size: int = 224
    prefer: str = ""


class Suite(NamedTuple):
    """Rows, and what all of them share.

    Attributes:
      platform: as JAX names it, that it is for; None: any.
      dtype: compute type.
      kernels: flags of `launch.tools.benchmark_kernels`.
      rows: in their order.
    """

    platform: str | None
    dtype: str
    kernels: tuple[str, ...]
    rows: tuple[Work, ...]


_FORMULATIONS = ("reference", "turned_keys", "jax_nn", "cudnn", "triton", "shifted")
SUITES = {
    "gpu": Suite(
        "gpu",
        "bfloat16",
        (),
        (
            Work("maxvit_tiny", "infer", 256),
            Work("maxvit_tiny", "train", 128),
            *(Work(KERNELS, "both", 128, prefer=name) for name in _FORMULATIONS),
            Work("caformer_s18", "infer", 256),
            Work("caformer_s18", "train", 128),
            Work("maxim_s2", "infer", 8, 256),
            *(Work("maxvit_tiny", "infer", 256, prefer=p) for p in ("triton", "cudnn", "jax_nn")),
            *(Work("maxvit_tiny", "train", 128, prefer=p) for p in ("triton", "cudnn", "shifted")),
            Work("maxvit_base", "infer", 128),
            Work("maxvit_base", "train", 64),
            Work("caformer_s18", "infer", 256, prefer="cudnn"),
            Work("caformer_s18", "train", 128, prefer="cudnn"),
            Work("caformer_s18", "train", 128, prefer="shifted"),
        ),
    ),
    # Every kind of row in little: whether the other suites would run here.
    "smoke": Suite(
        None,
        "bfloat16",
        ("--small",),
        (
            Work("poolformer_s12", "infer", 2, 32),
            *(Work(KERNELS, "both", 2, prefer=name) for name in _FORMULATIONS),
            Work("poolformer_s12", "train", 2, 32, prefer="shifted"),
        ),
    ),
}
_MODEL_FIELDS = {"model": "model", "size": "side", "mode": "mode", "batch": "batch"}
_MODEL_FIELDS |= {"prefers": "formulation"}
_KERNEL_FIELDS = {"name": "kernel", "side": "side of map", "channels": "channels"}
_KERNEL_FIELDS |= {"window": "side of window", "mode": "mode", "batch": "batch"}
_KERNEL_FIELDS |= {"formulation": "formulation"}


def measure(args: argparse.Namespace) -> None:
    """Measures the suite that the command line names; prints it row by row, and keeps files of it.

    Raises:
      UserError: it is for another platform, none of its rows are asked for, or a file exists
        already or is of no known kind.
    """
    suite, ends = SUITES[args.suite], time.monotonic() + (args.budget or float("inf"))
    kinds = tables.file_kinds(args.output, {".json": _json, ".md": _markdown})
    rows = _asked_for(args.suite, suite, args.models)
    # Of XLA's choices of algorithms, which later rows need not make again.
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | _ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": cache}
        result = {"command": tables.command_line(), "device": _device(args.suite, environment)}
        compares = bool(args.peer_python) or peer.is_installed()
        result |= {"dtype": suite.dtype, "peer_modes": _peer_modes(args) if compares else []}
        result |= {"models": [], KERNELS: []}
        for work in rows:
            table = KERNELS if work.model == KERNELS else "models"
            for row in _measured(args, suite, work, ends, environment, result["peer_modes"]):
                if not any(row is known for known in result[table]):
                    result[table].append(row)
                print(json.dumps(row), flush=True)
                for path, kind in zip(args.output, kinds, strict=True):
                    write_bytes(path, kind(result))


def _asked_for(name: str, suite: Suite, patterns: list[str] | None) -> list[Work]:
    """The rows of models, or `KERNELS`, that patterns mean."""
    names = [work.model for work in suite.rows]
    for pattern in patterns or ():
        unknown = f"--models: --suite={name} has no {pattern!r}: {did_you_mean(pattern, {*names})}"
        require(bool(fnmatch.filter(names, pattern)), unknown)
    return [
        work
        for work in suite.rows
        if not patterns or any(fnmatch.fnmatchcase(work.model, p) for p in patterns)
    ]


def _device(name: str, environment: dict[str, str]) -> dict[str, str]:
    """What JAX calls the device, asked in a process of its own: this one leaves it to the rows.

    Raises:
      UserError: it is none that the suite is for, or JAX doesn't start.
    """
    ask = "import jax, json; d = jax.devices()[0]; print(json.dumps({'kind': d.device_kind,"
    ask += " 'platform': d.platform, 'jax': jax.__version__}))"
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    why = tables.why_it_failed(done.returncode, done.stderr) if done.returncode else ""
    require(not why, f"--suite={name}: JAX doesn't start here: {why}")
    found = json.loads(done.stdout.splitlines()[-1])
    needed, there = SUITES[name].platform, found["platform"]
    require(
        needed in (None, there),
        f"--suite={name}: JAX sees no {needed} here, only {there}: run it where there is one, with"
        " pip install 'multi-axis-jax[cuda]', or see with --suite=smoke whether it would run",
    )
    return found


def _peer_modes(args: argparse.Namespace) -> list[str]:
    """Of both eager ones that with channels last, which GPUs are made for."""
    return [mode for mode in args.peer_modes if mode != "eager"]


def _measured(
    args: argparse.Namespace,
    suite: Suite,
    work: Work,
    ends: float,
    environment: dict[str, str],
    peer_modes: list[str],
) -> Iterator[Row]:
    """The rows of a process; those of models again with each of timm's modes."""
    asked = work._asdict() | {"prefers": work.prefer or "the platform's"}
    of_kernels = work.model == KERNELS
    if of_kernels:
        asked = dict.fromkeys(_KERNEL_FIELDS, "") | {"formulation": work.prefer}
    flags = {"batch": work.batch, "dtype": suite.dtype, "repeats": args.repeats}
    if of_kernels:
        command = ["launch.tools.benchmark_kernels", f"--formulations={work.prefer}"]
        command += suite.kernels
    else:
        flags |= {"model": work.model, "mode": work.mode, "size": work.size, "warmup": args.warmup}
        command = ["launch.benchmark", *(f"--prefer={work.prefer}",) * bool(work.prefer)]
    command = [sys.executable, "-m", *command, *(f"--{k}={v}" for k, v in flags.items())]
    rows, why = _lines(command, environment, ends)
    if why:
        rows.append({"not_measured": why})
    for row in rows:
        row = asked | row
        yield row
        if of_kernels or work.prefer or "not_measured" in row:
            continue
        for mode in peer_modes if peer.has_peer(work.model, work.size) else ():
            row[f"timm_{mode}"] = _timm(args, suite, work, mode, row, ends)
            yield row


def _lines(command: list[str], environment: dict[str, str], ends: float) -> tuple[list[Row], str]:
    """The lines of JSON that a command prints, and why it failed, if it did."""
    left = ends - time.monotonic()
    if left < _LEAST:
        return [], "the budget was spent"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            env=environment,
            timeout=None if left == float("inf") else left,
        )
        said, why = done.stdout, ""
        if done.returncode:
            why = tables.why_it_failed(done.returncode, done.stderr.decode(errors="replace"))
    except subprocess.TimeoutExpired as error:
        said, why = error.stdout or b"", "the budget was spent meanwhile"
    rows = []
    for line in said.decode(errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # of other libraries, or cut off
            rows.append(json.loads(line))
    return rows, why


def _timm(
    args: argparse.Namespace, suite: Suite, work: Work, mode: str, ours: Row, ends: float
) -> Row:
    """What timm's model takes, and how much faster ours is by the medians."""
    left = ends - time.monotonic()
    if left < _LEAST:
        return {"not_measured": "the budget was spent"}
    count = repetitions_at_a_time(ours["platform"])
    settings = {"size": work.size, "batch": work.batch, "mode": work.mode, "dtype": suite.dtype}
    settings |= {"warmup": args.warmup, "limit": None if left == float("inf") else left}
    try:
        other = peer.Peer(args.peer_python, work.model, mode, **settings)
        with contextlib.closing(other):
            seconds = [other.repetition(count) / count for _ in range(args.repeats)]
    except UserError as error:
        return {"not_measured": str(error)}
    median = statistics.median(seconds)
    return {
        "step_seconds": median,
        "images_per_second": work.batch / median,
        "speedup": median / ours["step_seconds"],
        "compile_seconds": max(other.first_seconds - median, 0.0),
    }


# ---------------------------------------------------------------- files


def _json(result: dict[str, Any]) -> bytes:
    return json.dumps(result, indent=1).encode()


def _markdown(result: dict[str, Any]) -> bytes:
    device = result["device"]
    lines = [f"`{result['command']}`", ""]
    lines.append(
        f"{device['kind']} ({device['platform']}), jax {device['jax']}, {result['dtype']}."
    )
    if not result["peer_modes"]:
        lines.append("Nothing is measured beside: --peer_python=<a Python that has timm> does.")
    columns = tables.model_columns(result["peer_modes"])
    for rows, titles, fields in (
        (result["models"], columns, _MODEL_FIELDS),
        (result[KERNELS], _KERNEL_COLUMNS, _KERNEL_FIELDS),
    ):
        if rows:
            lines += ["", tables.header(titles, fields)]
            lines += [tables.line(row, titles, fields) for row in rows]
    return "\n".join([*lines, ""]).encode()


_KERNEL_COLUMNS: tables.Columns = {
    "ms": lambda row: tables.figure(1e3 * row["seconds"]),
    "of a copy of arguments and results": lambda row: f"{row['bytes_share_of_copy']:.0%}",
    "the copy, GB/s": lambda row: tables.figure(row["copy_bytes_per_second"] / 1e9),
    "temporaries, MiB": lambda row: tables.figure(row["temporary_bytes"] / 2**20),
    "compiled in, s": lambda row: tables.figure(row["compile_seconds"]),
    "error": lambda row: f"{row['error']:.1e}",
}
