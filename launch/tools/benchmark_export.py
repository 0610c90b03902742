"""Measures classifiers in JAX, as ONNX files in onnxruntime and OpenVINO, and timm's compiled ones.

    python -m launch.tools.benchmark_export --models maxvit_tiny caformer_s18 --batches 1 8 \\
        --peer_python=<python with torch and timm>

Prints docs/export.md's table: images per second by model and batch size. All take their turns, a
repetition each, so that ratios hold while the machine's speed drifts. OpenVINO is left out where it
isn't installed, timm without `--peer_python`. Weights are random: they don't change the time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

import maxvit_jax
from common.export import onnx
from common.program import BATCH, Input, Program
from launch.benchmark import PAUSE, Peer, prepare

Contestant = Callable[[], float]  # runs once and returns its seconds


def main() -> None:
    """Parses the command line, measures, and prints the table."""
    args = _parse()
    everyone = {
        (model, batch): contestants(model, args.size, batch, args.peer_python)
        for model in args.models
        for batch in args.batches
    }
    names = list(next(iter(everyone.values())))
    print(f"| model at {args.size}, batch | {' | '.join(names)} |")
    print(f"| --- |{' ---: |' * len(names)}")
    for (model, batch), row in everyone.items():
        seconds = measure(row, args.repeats)
        cells = " | ".join(f"{batch / seconds[name]:.1f}" for name in names)
        print(f"| {model}, {batch} | {cells} |", flush=True)


def contestants(
    model: str, size: int, batch: int, peer_python: str | None
) -> dict[str, Contestant]:
    """Returns what is compared, compiled and warm, by name.

    Args:
      model: name of a classifier.
      size: side of images in pixels.
      batch: images at once.
      peer_python: of an environment with PyTorch and timm; None: without them.
    """
    settings = {"mode": "infer", "dtype": "float32", "remat": False, "settings": "default"}
    ours = argparse.Namespace(model=model, size=size, batch=batch, warmup=2, **settings)
    images = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)
    found = {"JAX": _timed(prepare(ours)[0])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx.write(path, _program(model, size, batch))
        found["onnxruntime"] = _timed(_in_onnxruntime(path, images))
        if find_spec("openvino"):
            found["OpenVINO"] = _timed(_in_openvino(path, images))
    if peer_python:
        ours.peer_python = peer_python
        found["timm, torch.compile"] = Peer(ours, "compile").repetition
    for run in found.values():
        run(), run()
    return found


def measure(everyone: dict[str, Contestant], repeats: int) -> dict[str, float]:
    """Returns median seconds by name; they take turns, with pauses for idle threads to end."""
    times: dict[str, list[float]] = {name: [] for name in everyone}
    for _ in range(repeats):
        for name, run in everyone.items():
            time.sleep(PAUSE)
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def _program(name: str, size: int, batch: int) -> Program:
    model = maxvit_jax.create_model(name)
    inputs = {"image": Input((BATCH, size, size, 3), "float32")}
    return Program(
        run=lambda variables, inputs: {"logits": model.apply(variables, inputs["image"])},
        variables=jax.jit(model.init)(jax.random.key(0), np.zeros((1, size, size, 3), np.float32)),
        inputs=inputs,
        outputs={"logits": ""},
        info={},
    ).of_batch(batch)


def _in_onnxruntime(path: Path, images: np.ndarray) -> Callable[[], object]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": images})


def _in_openvino(path: Path, images: np.ndarray) -> Callable[[], object]:
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda: compiled({"image": images})


def _timed(run: Callable[[], object]) -> Contestant:
    def repetition() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return repetition


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["maxvit_tiny", "caformer_s18"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peer_python", help="Python of an environment with PyTorch and timm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
