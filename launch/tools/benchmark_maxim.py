"""Measures MAXIM's forward pass against the release's formulation of it; prints one JSON line.

    python -m launch.tools.benchmark_maxim --model=maxim_s2 --size=256

Both compute the finest output of the last stage from the same weights, compiled by the same
compiler in one process, one repetition in turn, so that the ratio holds while the machine's speed
drifts. `--mode=memory` compiles a training step on one crop instead and prints its memory.
"""

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

from common.errors import UserError
from launch.process_settings import SETTINGS, compiler_options, set_allocator


def main() -> None:
    """Parses the command line and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="maxim_s2")
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--mode", choices=("infer", "memory"), default="infer")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--no_remat", action="store_true", help="with --mode=memory")
    parser.add_argument("--settings", choices=SETTINGS, default="default")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    set_allocator(args.settings)
    result = _memory(args) if args.mode == "memory" else _compare(args)
    print(json.dumps(vars(args) | result))


def _compare(args: argparse.Namespace) -> dict[str, Any]:
    import jax
    import numpy as np
    from jax import numpy as jnp

    import maxim_jax
    from launch.tools.plain_maxim import plain_maxim

    model = maxim_jax.create_model(args.model, dtype=args.dtype)
    images = jax.random.uniform(jax.random.key(0), (1, args.size, args.size, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: jnp.asarray(0.05 * rng.normal(size=a.shape), "f"), shapes)
    official = {
        name.removeprefix("opt/target/"): jnp.asarray(array, args.dtype)
        for name, array in maxim_jax.export_weights(model, variables, "official").items()
    }
    options = compiler_options(args.settings)
    fields = model.shared()
    programs = {
        "ours": jax.jit(lambda v, x: model.apply(v, x)[-1][0]).lower(variables, images),
        "release": jax.jit(lambda w, x: plain_maxim(w, x.astype(args.dtype), fields)[-1][-1]).lower(
            official, images
        ),
    }
    arguments = {"ours": (variables, images), "release": (official, images)}
    compiled = {n: program.compile(compiler_options=options) for n, program in programs.items()}
    outputs = {n: np.asarray(f(*arguments[n]), np.float32) for n, f in compiled.items()}

    times = {name: [] for name in compiled}
    for _ in range(args.repeats):
        for name, run in compiled.items():
            run(*arguments[name]).block_until_ready()  # takes its memory back from the other
            start = time.perf_counter()
            run(*arguments[name]).block_until_ready()
            times[name].append(time.perf_counter() - start)
    difference = np.abs(outputs["ours"] - outputs["release"]).max() / outputs["release"].std()
    ratios = [r / o for o, r in zip(times["ours"], times["release"], strict=True)]
    result = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "difference_over_std": float(difference),
        "speedup": statistics.median(ratios),
    }
    for name, program in compiled.items():
        costs = program.cost_analysis()
        result[name] = {
            "seconds": statistics.median(times[name]),
            "seconds_min": min(times[name]),
            "gflop": costs["flops"] / 1e9,
            "gigabytes_accessed": costs["bytes accessed"] / 1e9,
            "temporary_mib": program.memory_analysis().temp_size_in_bytes / 2**20,
        }
    return result


def _memory(args: argparse.Namespace) -> dict[str, Any]:
    import jax
    from jax import numpy as jnp

    import maxim_jax
    from maxim_jax.losses import multi_stage_loss

    model = maxim_jax.create_model(args.model, dtype=args.dtype, remat=not args.no_remat)
    images = jax.ShapeDtypeStruct((1, args.size, args.size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(variables: Any, images: jax.Array, targets: jax.Array) -> jax.Array:
        return multi_stage_loss(model.apply(variables, images, train=True), targets)

    start = time.perf_counter()
    compiled = jax.jit(jax.grad(loss)).lower(variables, images, images).compile()
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "compile_seconds": time.perf_counter() - start,
        "temporary_gib": compiled.memory_analysis().temp_size_in_bytes / 2**30,
        "gflop": compiled.cost_analysis()["flops"] / 1e9,
    }


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
