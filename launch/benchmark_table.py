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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import maxim_jax
import maxvit_jax
from common.config import require
from common.errors import did_you_mean
from common.unfinished import write_bytes
from launch.peer import has_peer
from launch.timed_program import FULL_ATTENTION

Row = dict[str, Any]
_Content = Callable[[argparse.Namespace, list[Row]], bytes]

SIDES = (224, 448, 672, 896, 1024)
# One of each family of comparable size, the last two with attention over the whole map: in half of
# the stages, in all.
FAMILIES = ("maxvit_tiny", "aewin_tiny", "moat_0", "maxim_s2", "caformer_s18", FULL_ATTENTION)

_PASSED_ON = ("batch", "mode", "dtype", "settings", "warmup", "repeats")


def measure(args: argparse.Namespace) -> None:
    """Measures what the command line says; prints the table row by row, and keeps files of it.

    Raises:
      UserError: there is no such model, or a file exists already or is of no known kind.
    """
    models = _models(args.models or FAMILIES)
    sides = (args.size,) if args.resolutions is None else args.resolutions or SIDES
    kinds = [_file_kind(path, sides) for path in args.output]
    columns, rows = _columns(args), []
    print(_header(columns), flush=True)
    for model, side in itertools.product(models, sides):
        rows.append(_measured_apart(args, model, side))
        print(_line(rows[-1], columns), flush=True)
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
    if _compares(args) and has_peer(model):
        command += ["--compare=timm", "--peer_modes", *args.peer_modes]
        command += [f"--peer_python={args.peer_python}"] * bool(args.peer_python)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    killed = f"ended by signal {-done.returncode}, for want of memory if that is 9"
    said = done.stderr.strip().splitlines()
    reason = killed if done.returncode < 0 or not said else said[-1].removeprefix("error: ")
    return {"model": model, "size": side, "batch": args.batch, "not_measured": reason}


def _compares(args: argparse.Namespace) -> bool:
    return bool(args.compare or args.peer_python)


# ---------------------------------------------------------------- files


def _file_kind(path: Path, sides: Sequence[int]) -> _Content:
    kinds = {".json": _json, ".md": _markdown, ".png": _picture}
    known = f"--output: {path} is none of {', '.join(kinds)}"
    require(path.suffix in kinds, known)
    require(path.suffix != ".png" or len(sides) > 1, f"--output: {path} needs --resolutions")
    require(not path.exists(), f"--output: {path} exists already: choose another or remove it")
    require(path.absolute().parent.is_dir(), f"--output: there is no folder {path.parent}")
    return kinds[path.suffix]


def _json(args: argparse.Namespace, rows: list[Row]) -> bytes:
    return json.dumps({"command": _command(), "rows": rows}, indent=1).encode()


def _markdown(args: argparse.Namespace, rows: list[Row]) -> bytes:
    columns = _columns(args)
    lines = [_header(columns), *(_line(row, columns) for row in rows)]
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


def _columns(args: argparse.Namespace) -> dict[str, Callable[[Row], str]]:
    """What a cell says, by its column's title."""
    columns = {
        "images/s": lambda row: _figure(row["images_per_second"]),
        "s per step": lambda row: _figure(row["step_seconds"]),
        "GFLOP/s (of the product's)": lambda row: _share(row, "flops", "matmul"),
        "GB/s (of the copy's)": lambda row: _share(row, "bytes", "copy"),
        "peak, GiB": lambda row: _figure(row["peak_memory_bytes"] / 2**30),
        "compiled in, s": lambda row: _figure(row["compile_seconds"]),
    }
    for mode in args.peer_modes if _compares(args) else ():
        columns |= _peer_columns(mode)
    return columns


def _peer_columns(mode: str) -> dict[str, Callable[[Row], str]]:
    """Empty where timm has no such model."""
    name = f"timm_{mode}"

    def cell(field: str) -> Callable[[Row], str]:
        return lambda row: _figure(row[name][field]) if name in row else ""

    return {
        f"timm {mode}, images/s": cell("images_per_second"),
        f"faster than timm {mode} by": cell("speedup"),
        f"timm {mode} compiled in, s": cell("compile_seconds"),
    }


def _header(columns: dict[str, Any]) -> str:
    titles = ["model", "side", *columns]
    return f"| {' | '.join(titles)} |\n| --- |{' ---: |' * (len(titles) - 1)}"


def _line(row: Row, columns: dict[str, Callable[[Row], str]]) -> str:
    if "not_measured" in row:
        cells = [f"not measured: {row['not_measured']}".replace("|", "\\|")]
        cells += [""] * (len(columns) - 1)
    else:
        cells = [text(row) for text in columns.values()]
    return f"| {' | '.join([row['model'], str(row['size']), *cells])} |"


def _share(row: Row, kind: str, ceiling: str) -> str:
    return f"{_figure(row[f'{kind}_per_second'] / 1e9)} ({row[f'{kind}_share_of_{ceiling}']:.0%})"


def _figure(value: float) -> str:
    """Three digits, all of those before the point."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}"


def _conditions(rows: list[Row]) -> Iterator[str]:
    """How the table came to be, and the ceilings of its run."""
    yield f"`{_command()}`"
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


def _command() -> str:
    return shlex.join(["python", "-m", "launch.benchmark", *sys.argv[1:]])
