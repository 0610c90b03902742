"""Measures inference and training of models, beside timm's and what the device reaches at most.

    python -m launch.benchmark --model=maxvit_tiny --size=224 --batch=8 --mode=infer
    python -m launch.benchmark --models 'maxvit_*' --compare=timm --output maxvit.json maxvit.md
    python -m launch.benchmark --resolutions --batch=1 --output costs.json costs.md costs.png
    python -m launch.benchmark --suite=gpu --budget=560 --output gpu.json gpu.md

One model gives a JSON line. Several give a Markdown table, each measured in a process of its own
(`launch/benchmark_table.py`), and so does one that sees images of several sides. `--compare=timm`
measures the same model of timm (MaxViT at 224, PoolFormer, ConvFormer, CAFormer) in turn, one
repetition each, so that the ratio holds while the machine's speed drifts; `--peer_python` is the
Python of an environment that has it, if this one doesn't. Needs jax, flax, optax and this project's
packages only. `--suite` is all that a platform should be measured with, in one command
(`launch/benchmark_suite.py`). `--input` measures the input pipeline instead
(`launch/tools/benchmark_input.py`, beside others' `launch/tools/benchmark_input_peers.py`).
"""

import argparse
import contextlib
import json
import os
import resource
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from common.device_memory import device_memory
from common.errors import UserError
from launch import benchmark_suite, benchmark_table, peer
from launch.ceilings import Ceilings
from launch.process_settings import SETTINGS, compiler_options, set_allocator
from launch.timed_program import TimedProgram, repetitions_at_a_time, timed_program

# Seconds between repetitions of different processes: idle threads spin for a while.
PAUSE = 0.5


def main() -> None:
    """Parses the command line and prints what it asks for."""
    args = _parse()
    if args.suite:
        benchmark_suite.measure(args)
    elif args.models or args.output or args.resolutions is not None:
        benchmark_table.measure(args)
    else:
        args.model = args.model or "maxvit_tiny"
        print(json.dumps(_measured(args)))


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    """Measures one model; the fields of the result are described in docs/benchmarks.md."""
    set_allocator(args.settings)
    with contextlib.ExitStack() as processes:
        peers = {}
        if args.compare or args.peer_python:
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs some
            work = _chosen(args, "size", "batch", "mode", "dtype", "warmup")
            for mode in args.peer_modes:
                other = peer.Peer(args.peer_python, args.model, mode, **work)
                peers[mode] = processes.enter_context(contextlib.closing(other))
        work = _chosen(args, "size", "batch", "mode", "dtype", "remat", "pad_inputs", "prefer")
        options = compiler_options(args.settings)
        program = timed_program(args.model, **work, options=options)
        result = _known(args, program)
        there = device_memory(jax.devices()[0])
        if program.needed_bytes > there:
            needed, there = program.needed_bytes / 2**30, there / 2**30
            return result | {"not_measured": f"needs {needed:.1f} GiB of {there:.1f}"}
        for _ in range(args.warmup):
            program.run()
        result["peak_memory_bytes"] = peak_memory()
        return result | _timed_in_turn(args, program, Ceilings(args.dtype, options), peers)


def _chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}


def _known(args: argparse.Namespace, program: TimedProgram) -> dict[str, Any]:
    """What is known before anything has run."""
    device = jax.devices()[0]
    asked = _chosen(args, "model", "mode", "size", "batch", "dtype", "remat", "prefer", "settings")
    return asked | {
        "device": device.device_kind,
        "platform": device.platform,
        "jax": jax.__version__,
        "compile_seconds": program.compile_seconds,
        "flops": program.flops,
        "bytes": program.bytes,
        "temporary_bytes": program.temporary_bytes,
    }


def _timed_in_turn(
    args: argparse.Namespace,
    program: TimedProgram,
    ceilings: Ceilings,
    peers: dict[str, peer.Peer],
) -> dict[str, Any]:
    """One repetition of each, as often as asked: ratios are of those that follow each other."""
    times, rates, peer_times = [], [], {mode: [] for mode in peers}
    count = repetitions_at_a_time(jax.default_backend())
    for _ in range(args.repeats):
        times.append(timed(lambda: program.run(count)) / count)
        rates.append(ceilings.measure())
        for mode, other in peers.items():
            time.sleep(PAUSE)
            peer_times[mode].append(other.repetition(count) / count)
        if peers:
            time.sleep(PAUSE)
    seconds = statistics.median(times)
    result = {
        "step_seconds": seconds,
        "step_seconds_min": min(times),
        "step_seconds_max": max(times),
        "images_per_second": args.batch / seconds,
    }
    work = (("flops", "matmul", program.flops), ("bytes", "copy", program.bytes))
    for kind, ceiling, done in work:
        reached = [getattr(rate, kind) for rate in rates]
        shares = [done / time / rate for time, rate in zip(times, reached, strict=True)]
        result[f"{kind}_per_second"] = done / seconds
        result[f"{ceiling}_{kind}_per_second"] = statistics.median(reached)
        result[f"{kind}_share_of_{ceiling}"] = statistics.median(shares)
    for mode, values in peer_times.items():
        median = statistics.median(values)
        ratios = [theirs / ours for ours, theirs in zip(times, values, strict=True)]
        result[f"timm_{mode}"] = {
            "step_seconds": median,
            "images_per_second": args.batch / median,
            "speedup": statistics.median(ratios),
            "compile_seconds": max(peers[mode].first_seconds - median, 0.0),
        }
    return result


def peak_memory() -> int:
    """Returns the device's peak in bytes where it counts, else the process's."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(run: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UserError(message)


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _parse() -> argparse.Namespace:
    parser = _Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="one model (default: maxvit_tiny)")
    parser.add_argument("--models", nargs="+", help="names or patterns: a table of them")
    parser.add_argument("--size", type=_positive, default=224, help="side of the images in pixels")
    parser.add_argument(
        "--resolutions",
        nargs="*",
        type=_positive,
        help="several sides: a table of what they cost (default: 224 to 1024)",
    )
    parser.add_argument("--batch", type=_positive, default=8)
    parser.add_argument("--mode", choices=("infer", "train"), default="infer")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--remat", action="store_true", help="recompute blocks when training")
    parser.add_argument(
        "--pad_inputs", action="store_true", help="pad what a model's windows don't fit"
    )
    parser.add_argument(
        "--prefer",
        nargs="+",
        default=[],
        help="formulations of kernels, such as triton or cudnn, instead of the platform's",
    )
    parser.add_argument("--settings", choices=SETTINGS, default="default")
    parser.add_argument("--warmup", type=_positive, default=2)
    parser.add_argument("--repeats", type=_positive, default=9)
    parser.add_argument(
        "--output", nargs="+", type=Path, default=[], help="files of a table: .md, .json, .png"
    )
    parser.add_argument(
        "--suite", choices=benchmark_suite.SUITES, help="rows of --models, all of them by default"
    )
    parser.add_argument(
        "--budget", type=_positive, help="seconds after which a suite ends with what it has"
    )
    parser.add_argument("--input", action="store_true", help="only that: see `--input --help`")
    parser.add_argument("--compare", choices=("timm",), help="with the same models of others")
    parser.add_argument("--peer_python", help="Python of an environment with PyTorch and timm")
    parser.add_argument("--peer_modes", nargs="+", choices=peer.MODES, default=list(peer.MODES))
    return parser.parse_args()


if __name__ == "__main__":
    if "--input" in sys.argv:  # a main of its own, with absl's flags
        sys.argv.remove("--input")
        beside_others = any(argument.startswith("--compare") for argument in sys.argv)
        main_of_input = "benchmark_input_peers" if beside_others else "benchmark_input"
        runpy.run_module(f"launch.tools.{main_of_input}", run_name="__main__", alter_sys=True)
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
