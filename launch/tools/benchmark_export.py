"""Measures classifiers in JAX, as ONNX files in onnxruntime and OpenVINO, and timm's compiled ones.

    python -m launch.tools.benchmark_export --models maxvit_tiny caformer_s18 --batches 1 8 \\
        --settings=tuned --peer_python=<python with torch and timm>

Prints a Markdown table of images per second, by the median repetition. All take turns, a repetition
each, so that ratios hold while the machine's speed drifts. Files have fixed sides and batch, but
for the one whose column says that they are open. OpenVINO is left out where it isn't installed,
timm without `--peer_python`. Weights are random, which doesn't change the time; all is float32, on
the CPU.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

import maxvit_jax
from common.config import require
from common.errors import UserError
from common.export import onnx
from common.program import BATCH, Input, Program, multiples_of
from launch.benchmark import PAUSE, timed
from launch.peer import Peer
from launch.process_settings import SETTINGS, compiler_options, set_allocator
from launch.timed_program import timed_program

Repetition = Callable[[], float]  # runs once and returns its seconds


def main() -> None:
    """Parses the command line, measures, and prints the table row by row."""
    args = _parse()
    installed = find_spec("onnxruntime") is not None
    require(installed, "this needs the package onnxruntime: pip install '.[onnx]'")
    set_allocator(args.settings)
    rows = [(model, batch) for model in args.models for batch in args.batches]
    for row, (model, batch) in enumerate(rows):
        repetitions = contestants(args, model, batch)
        seconds = measure(repetitions, args.repeats)
        if row == 0:
            print(f"| model at {args.size}, batch | {' | '.join(seconds)} |")
            print(f"| --- |{' ---: |' * len(seconds)}")
        cells = " | ".join(f"{batch / median:.1f}" for median in seconds.values())
        print(f"| {model}, {batch} | {cells} |", flush=True)


def contestants(args: argparse.Namespace, model: str, batch: int) -> dict[str, Repetition]:
    """Returns what is compared, compiled, by name.

    Args:
      args: the command line.
      model: name of a classifier.
      batch: images at once.

    Raises:
      UserError: there is no such model, it doesn't take the size, or timm doesn't have it.
    """
    options = compiler_options(args.settings)
    ours = timed_program(model, size=args.size, batch=batch, options=options)
    found = {"JAX": partial(timed, ours.run)}
    program, rng = _program(model, args.size), np.random.default_rng(0)
    images = rng.standard_normal((batch, args.size, args.size, 3), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        fixed, opened = Path(folder, "fixed.onnx"), Path(folder, "opened.onnx")
        onnx.write(fixed, _fixed(program, images))
        onnx.write(opened, program)
        found["onnxruntime"] = partial(timed, _in_onnxruntime(fixed, images))
        found["onnxruntime, open sides"] = partial(timed, _in_onnxruntime(opened, images))
        if find_spec("openvino"):
            found["OpenVINO"] = partial(timed, _in_openvino(fixed, images))
    if args.peer_python:
        work = {"size": args.size, "batch": batch, "mode": "infer", "dtype": "float32", "warmup": 2}
        found["timm, torch.compile"] = Peer(args.peer_python, model, "compile", **work).repetition
    return found


def measure(repetitions: dict[str, Repetition], repeats: int) -> dict[str, float]:
    """Returns median seconds by name.

    They take turns, with pauses in which idle threads end their spinning; the first two rounds warm
    up.
    """
    times: dict[str, list[float]] = {name: [] for name in repetitions}
    for _ in range(2 + repeats):
        for name, repetition in repetitions.items():
            time.sleep(PAUSE)
            times[name].append(repetition())
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def _program(name: str, size: int) -> Program:
    """Of the model alone, which gets normalised images; its sides are open."""
    model = maxvit_jax.create_model(name)
    example = np.zeros((1, size, size, 3), np.float32)
    sides = model.only_size or multiples_of(model.smallest_size)
    return Program(
        run=lambda variables, inputs: {"logits": model.apply(variables, inputs["image"])},
        variables=jax.jit(model.init)(jax.random.key(0), example),
        inputs={"image": Input((BATCH, *sides, 3), "float32")},
        outputs={"logits": ""},
        info={},
    )


def _fixed(program: Program, images: np.ndarray) -> Program:
    return dataclasses.replace(program, inputs={"image": Input(images.shape, "float32")})


def _in_onnxruntime(path: Path, images: np.ndarray) -> Callable[[], object]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": images})


def _in_openvino(path: Path, images: np.ndarray) -> Callable[[], object]:
    # It would report its import over the network, by a fork that may lock up beside JAX's threads.
    sys.modules["openvino_telemetry"] = None
    import openvino

    # As all others: where the CPU has bfloat16, OpenVINO takes that if it isn't told.
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda: compiled({"image": images})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["maxvit_tiny", "caformer_s18"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--settings", choices=SETTINGS, default="default")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peer_python", help="Python of an environment with PyTorch and timm")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
