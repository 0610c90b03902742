"""Tables of what models cost, one beside the other or at several sizes of images.

Every row is `launch.benchmark --model` in a process of its own: its peak memory is its own, and one
that fails costs the others nothing.
"""

import argparse
import itertools
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import maxim_jax
import maxvit_jax
from common.config import require
from common.errors import did_you_mean
from common.unfinished import write_bytes
from launch.peer import has_peer
from launch.timed_program import FULL_ATTENTION

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]  # what a cell says, by its column's title
_Kind = TypeVar("_Kind")
_Content = Callable[[argparse.Namespace, list[Row]], bytes]

SIDES = (224, 448, 672, 896, 1024)
# One of each family of comparable size, the last two with attention over the whole map: in half of
# the stages, in all.
FAMILIES = ("maxvit_tiny", "aewin_tiny", "moat_0", "maxim_s2", "caformer_s18", FULL_ATTENTION)

_FIELDS = {"model": "model", "size": "side"}  # what a row was asked for, and titles of that
_PASSED_ON = ("batch", "mode", "dtype", "settings", "warmup", "repeats")


def measure(args: argparse.Namespace) -> None:
    """Measures what the command line says; prints the table row by row, and keeps files of it.

    Raises:
      UserError: there is no such model, or a file exists already or is of no known kind.
    """
    models = _models(args.models or ([args.model] if args.model else FAMILIES))
    sides = (args.size,) if args.resolutions is None else args.resolutions or SIDES
    kinds = file_kinds(args.output, {".json": _json, ".md": _markdown, ".png": _picture})
    for path in args.output:
        require(path.suffix != ".png" or len(sides) > 1, f"--output: {path} needs --resolutions")
    columns, rows = _columns(args), []
    print(header(columns), flush=True)
    for model, side in itertools.product(models, sides):
        rows.append(_measured_apart(args, model, side))
        print(line(rows[-1], columns), flush=True)
        for path, kind in zip(args.output, kinds, strict=True):
            write_bytes(path, kind(args, rows))  # now: what comes may take hours


def _models(patterns: Sequence[str]) -> list[str]:
    """The models that patterns mean, each once."""
    known = [*maxvit_jax.list_models(), *maxim_jax.list_models(), FULL_ATTENTION]
    packages = (maxvit_jax, maxim_jax)
    found = []
    for pattern in patterns:
        names = [pattern] if pattern == FULL_ATTENTION else []
        names += [name for package in packages for name in package.list_models(pattern)]
        unknown = f"--models: no model is called {pattern!r}: {did_you_mean(pattern, known)}"
        require(bool(names), unknown)
        found += names
    return list(dict.fromkeys(found))


def _measured_apart(args: argparse.Namespace, model: str, side: int) -> Row:
    command = [sys.executable, "-m", "launch.benchmark", f"--model={model}", f"--size={side}"]
    command += [f"--{name}={getattr(args, name)}" for name in _PASSED_ON]
    command += ["--remat"] * args.remat
    command += ["--pad_inputs"] * (args.pad_inputs or args.resolutions is not None)
    if _compares(args) and has_peer(model, side):
        command += ["--compare=timm", "--peer_modes", *args.peer_modes]
        command += [f"--peer_python={args.peer_python}"] * bool(args.peer_python)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = why_it_failed(done.returncode, done.stderr)
    return {"model": model, "size": side, "batch": args.batch, "not_measured": reason}


def why_it_failed(code: int, said: str) -> str:
    """Returns in one line why a row's process failed, by its exit code and standard error."""
    if code < 0 or not said.strip():
        return f"ended by signal {-code}, for want of memory if that is 9"
    return said.strip().splitlines()[-1].removeprefix("error: ")


def _compares(args: argparse.Namespace) -> bool:
    return bool(args.compare or args.peer_python)


# ---------------------------------------------------------------- files


def file_kinds(paths: Sequence[Path], kinds: Mapping[str, _Kind]) -> list[_Kind]:
    """Returns the kind of every file by its ending.

    Raises:
      UserError: it has another, there is such a file, or no folder for it.
    """
    for path in paths:
        known = f"--output: {path} is none of {', '.join(kinds)}"
        require(path.suffix in kinds, known)
        require(not path.exists(), f"--output: {path} exists already: choose another or remove it")
        require(path.absolute().parent.is_dir(), f"--output: there is no folder {path.parent}")
    return [kinds[path.suffix] for path in paths]


def _json(args: argparse.Namespace, rows: list[Row]) -> bytes:
    return json.dumps({"command": command_line(), "rows": rows}, indent=1).encode()


def _markdown(args: argparse.Namespace, rows: list[Row]) -> bytes:
    columns = _columns(args)
    lines = [header(columns), *(line(row, columns) for row in rows)]
    return "\n".join([*_conditions(rows), "", *lines, ""]).encode()


def _picture(args: argparse.Namespace, rows: list[Row]) -> bytes:
    import numpy as np

    from common.data.class_lists import distinct_colours
    from common.line_plot import line_plot
    from common.pictures import encoded

    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = [
        line_plot(
            {model: _points(rows, model, field, scale) for model in models},
            distinct_colours(len(models)),
            title=title,
            x_label="side of the image, pixels",
            y_label=unit,
        )
        for field, scale, title, unit in (
            ("flops", 1e-9, "arithmetic of an image", "GFLOP"),
            ("step_seconds", 1, "time of an image", "s"),
        )
    ]
    return encoded(np.concatenate(panels, axis=1))


def _points(rows: list[Row], model: str, field: str, scale: float) -> list[tuple[float, float]]:
    """Side and cost of an image, where that is known."""
    known = [row for row in rows if row["model"] == model and field in row]
    return [(row["size"], scale * row[field] / row["batch"]) for row in known]


# ---------------------------------------------------------------- the table


def _columns(args: argparse.Namespace) -> Columns:
    return model_columns(args.peer_modes if _compares(args) else ())


def model_columns(peer_modes: Sequence[str]) -> Columns:
    """Returns the columns of a table of models, and of timm's in these modes."""
    columns = {
        "images/s": lambda row: figure(row["images_per_second"]),
        "s per step": lambda row: figure(row["step_seconds"]),
        "GFLOP/s (of the product's)": lambda row: _share(row, "flops", "matmul"),
        "GB/s (of the copy's)": lambda row: _share(row, "bytes", "copy"),
        "peak, GiB": lambda row: figure(row["peak_memory_bytes"] / 2**30),
        "compiled in, s": lambda row: figure(row["compile_seconds"]),
    }
    for mode in peer_modes:
        columns |= _peer_columns(mode)
    return columns


def _peer_columns(mode: str) -> Columns:
    """Empty where timm has no such model; the first one says what kept it from being measured."""
    name = f"timm_{mode}"

    def cell(field: str) -> Callable[[Row], str]:
        def text(row: Row) -> str:
            theirs = row.get(name, {})
            if "not_measured" in theirs and field == "images_per_second":
                return not_measured(theirs)
            return figure(theirs[field]) if field in theirs else ""

        return text

    return {
        f"timm {mode}, images/s": cell("images_per_second"),
        f"faster than timm {mode} by": cell("speedup"),
        f"timm {mode} compiled in, s": cell("compile_seconds"),
    }


def header(columns: Columns, fields: Mapping[str, str] = _FIELDS) -> str:
    """Returns both lines of a table's head.

    Args:
      columns: of what was measured.
      fields: titles of what was asked for, by the row's fields; they come first.
    """
    titles = [*fields.values(), *columns]
    return f"| {' | '.join(titles)} |\n| --- |{' ---: |' * (len(titles) - 1)}"


def line(row: Row, columns: Columns, fields: Mapping[str, str] = _FIELDS) -> str:
    """Returns a row's line; arguments as for `header`."""
    cells = [str(row[field]) for field in fields]
    if "not_measured" in row:
        cells += [not_measured(row), *[""] * (len(columns) - 1)]
    else:
        cells += [text(row) for text in columns.values()]
    return f"| {' | '.join(cells)} |"


def not_measured(row: Row) -> str:
    """Returns the cell that says why a row, or a peer in it, has no figures."""
    return f"not measured: {row['not_measured']}".replace("|", "\\|")


def _share(row: Row, kind: str, ceiling: str) -> str:
    return f"{figure(row[f'{kind}_per_second'] / 1e9)} ({row[f'{kind}_share_of_{ceiling}']:.0%})"


def figure(value: float) -> str:
    """Returns three digits, and all of those before the point."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}"


def _conditions(rows: list[Row]) -> Iterator[str]:
    """How the table came to be, and the ceilings of its run."""
    yield f"`{command_line()}`"
    measured = [row for row in rows if "not_measured" not in row]
    for row in measured[:1]:
        yield ""
        product, copy = (
            max(row[f"{name}_per_second"] for row in measured) / 1e9
            for name in ("matmul_flops", "copy_bytes")
        )
        yield (
            f"{row['device']} ({row['platform']}), jax {row['jax']}, {row['mode']} of batch"
            f" {row['batch']}, {row['dtype']}, settings {row['settings']}. Ceilings, best median"
            f" beside a row: a product of matrices {product:,.0f} GFLOP/s, a copy {copy:,.1f} GB/s"
            " read and written. Shares are of those right after each repetition. FLOPs are XLA's"
            " count before it optimises, bytes its estimate of what it compiled."
        )


def command_line() -> str:
    """Returns the command that runs, as it is typed."""
    return shlex.join(["python", "-m", "launch.benchmark", *sys.argv[1:]])
