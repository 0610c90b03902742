"""Measures inference and training of a model; prints one JSON line.

    python -m launch.benchmark --model=maxvit_tiny --size=224 --batch=8 --mode=infer

Takes any classifier. Needs jax, flax, optax and this project's packages only. With `--peer_python`,
the Python of an environment that has PyTorch and timm, the same model of timm (MaxViT, PoolFormer,
ConvFormer, CAFormer) is measured in turn, one repetition each, so that the ratio holds while the
machine's speed drifts. `--input` measures the input pipeline instead
(`launch/tools/benchmark_input.py`).
"""

import argparse
import json
import os
import pathlib
import resource
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from common.errors import UserError
from launch.process_settings import CPU_COMPILER_OPTIONS, tune_allocator

# Models that timm has too.
IN_TIMM = ("maxvit_", "poolformer_", "poolformerv2_", "caformer_", "convformer_")
# Seconds between repetitions of different processes: idle threads spin for a while.
PAUSE = 0.5


def main() -> None:
    """Parses the command line and prints the result."""
    args = _parse()
    if args.settings == "tuned":
        tune_allocator()
    peers = {mode: Peer(args, mode) for mode in args.peer_modes} if args.peer_python else {}
    run, result = prepare(args)
    for _ in range(args.warmup):
        run()
    times, peer_times = [], {mode: [] for mode in peers}
    for _ in range(args.repeats):
        times.append(_timed(run))
        for mode, peer in peers.items():
            time.sleep(PAUSE)
            peer_times[mode].append(peer.repetition())
        if peers:
            time.sleep(PAUSE)
    seconds = statistics.median(times)
    result |= {
        "step_seconds": seconds,
        "step_seconds_min": min(times),
        "step_seconds_max": max(times),
        "images_per_second": args.batch / seconds,
        "peak_memory_bytes": peak_memory(),
    }
    for mode, values in peer_times.items():
        ratios = [theirs / ours for ours, theirs in zip(times, values, strict=True)]
        result[f"timm_{mode}"] = {
            "step_seconds": statistics.median(values),
            "images_per_second": args.batch / statistics.median(values),
            "speedup": statistics.median(ratios),
        }
    print(json.dumps(result))


def prepare(args: argparse.Namespace) -> tuple[Callable[[], None], dict]:
    """Builds and compiles the program.

    Args:
      args: the command line.

    Returns:
      A function that runs one repetition to its end, and what is known before running.
    """
    import jax
    import numpy as np
    import optax
    from jax import numpy as jnp

    import maxvit_jax
    from common.train.optimizer import OptimizerConfig, make_optimizer
    from common.train.state import create_state, make_train_step

    model = maxvit_jax.create_model(args.model, dtype=args.dtype, remat=args.remat)
    shape = (args.batch, args.size, args.size, 3)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    labels = jnp.asarray(rng.integers(model.num_classes, size=args.batch))
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    options = {}
    if args.settings == "tuned" and jax.default_backend() == "cpu":
        options = CPU_COMPILER_OPTIONS

    class SyntheticTask:
        def loss(self, variables, batch, rng):
            logits, updates = model.apply(
                variables,
                batch["image"],
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": rng},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
            return loss, (updates.get("batch_stats", {}), {})

    start = time.perf_counter()
    if args.mode == "infer":
        forward = jax.jit(model.apply).lower(variables, images)
        compiled = forward.compile(compiler_options=options)

        def run() -> None:
            compiled(variables, images).block_until_ready()
    else:
        optimizer = make_optimizer(
            OptimizerConfig(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0),
            optax.constant_schedule(1e-3),
        )
        state = create_state(variables, optimizer, ema=False)
        step = make_train_step(SyntheticTask(), optimizer, seed=0)
        batch = {"image": images, "label": labels}
        lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
        compiled = lowered.compile(compiler_options=options)

        def run() -> None:
            nonlocal state
            state, metrics = compiled(state, batch)
            jax.block_until_ready((state, metrics))

    device = jax.devices()[0]
    result = {
        "model": args.model,
        "mode": args.mode,
        "size": args.size,
        "batch": args.batch,
        "dtype": args.dtype,
        "remat": args.remat,
        "settings": args.settings,
        "device": device.device_kind,
        "platform": device.platform,
        "jax": jax.__version__,
        "compile_seconds": time.perf_counter() - start,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }
    return run, result


def timm_name(model: str, size: int) -> str:
    """Returns timm's name of a model.

    Raises:
      UserError: timm has no such model.
    """
    if model.startswith("maxvit_"):
        return f"{model}_tf_{size}"
    if not model.startswith(IN_TIMM):
        raise UserError(f"timm has no {model}: leave --peer_python out")
    return model


def peak_memory() -> int:
    """Returns the device's peak in bytes where it counts, else the process's."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Peer:
    """The same measurement of timm in another process, one repetition at a time.

    Args:
      args: the command line.
      mode: of `launch/tools/benchmark_timm.py`.
    """

    def __init__(self, args: argparse.Namespace, mode: str):
        script = pathlib.Path(__file__).parent / "tools" / "benchmark_timm.py"
        command = [args.peer_python, str(script), f"--peer_mode={mode}", f"--warmup={args.warmup}"]
        command.append(f"--model={timm_name(args.model, args.size)}")
        for name in ("size", "batch", "mode", "dtype"):
            command.append(f"--{name}={getattr(args, name)}")
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise UserError(f"can't run {args.peer_python}: {error.strerror}") from error
        if self._process.stdout.readline().strip() != "ready":
            raise UserError(f"the peer did not start: {' '.join(command)}")

    def repetition(self) -> float:
        """Runs one repetition and returns its seconds."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def _timed(run: Callable[[], None]) -> float:
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
    parser.add_argument("--model", default="maxvit_tiny")
    parser.add_argument("--size", type=_positive, default=224, help="side of the images in pixels")
    parser.add_argument("--batch", type=_positive, default=8)
    parser.add_argument("--mode", choices=("infer", "train"), default="infer")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--remat", action="store_true", help="recompute blocks when training")
    parser.add_argument("--settings", choices=("default", "tuned"), default="default")
    parser.add_argument("--warmup", type=_positive, default=2)
    parser.add_argument("--repeats", type=_positive, default=9)
    parser.add_argument("--input", action="store_true", help="only that: see `--input --help`")
    parser.add_argument("--peer_python", help="Python of an environment with PyTorch and timm")
    parser.add_argument("--peer_modes", nargs="+", default=["eager", "channels_last", "compile"])
    return parser.parse_args()


if __name__ == "__main__":
    if "--input" in sys.argv:  # a main of its own, with absl's flags
        sys.argv.remove("--input")
        runpy.run_module("launch.tools.benchmark_input", run_name="__main__", alter_sys=True)
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
