"""Formulations of window attention and depthwise convolutions, one after the other, alone.

    python -m launch.tools.benchmark_kernels --batch=128 --dtype=bfloat16

Prints a line of JSON for every kernel, shape and mode, with what it differs by from the plainest
formulation in float32. One that fails says why in its line.
"""

import argparse
import fnmatch
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax import numpy as jnp

from common.kernels.choose import preferring
from common.kernels.depthwise import depthwise_conv
from common.kernels.window_attention import Projection, window_attention
from launch.benchmark import timed
from launch.ceilings import Ceilings
from launch.timed_program import compiled_costs, repetitions_at_a_time

HEAD_DIM = 32


class Kernel(NamedTuple):
    """A kernel at a shape.

    Attributes:
      name: shown in tables, and chosen by.
      side: of the map, in positions.
      channels: of the map.
      window: side of windows, or of the convolution's kernel.
      formulations: that it is measured in.
    """

    name: str
    side: int
    channels: int
    window: int
    formulations: tuple[str, ...]


ATTENTION = ("reference", "turned_keys", "jax_nn", "cudnn", "triton")
DEPTHWISE = ("reference", "shifted")
# The first and third stage of MaxViT-T, and the first of CAFormer, at 224.
KERNELS = (
    Kernel("window attention", 56, 64, 7, ATTENTION),
    Kernel("window attention", 14, 256, 7, ATTENTION),
    Kernel("depthwise", 56, 256, 3, DEPTHWISE),
    Kernel("depthwise", 56, 128, 7, DEPTHWISE),
)
# The same in little, to see that all of it runs.
SMALL = (
    Kernel("window attention", 4, 32, 2, ATTENTION),
    Kernel("depthwise", 4, 8, 3, DEPTHWISE),
)


def main() -> None:
    """Parses the command line and prints what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--formulations", nargs="+", default=["*"], help="names or patterns")
    parser.add_argument("--small", action="store_true", help="maps of few positions")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    ceilings = Ceilings(args.dtype)
    for kernel in SMALL if args.small else KERNELS:
        for formulation in kernel.formulations:
            if any(fnmatch.fnmatchcase(formulation, name) for name in args.formulations):
                for row in measured(kernel, formulation, args, ceilings):
                    print(json.dumps(row), flush=True)


def measured(
    kernel: Kernel, formulation: str, args: argparse.Namespace, ceilings: Ceilings
) -> Iterator[dict[str, Any]]:
    """Measures a formulation forward and with its gradients."""
    function, *arrays = _of(kernel, args.batch)
    given = [jnp.asarray(x, args.dtype) for x in arrays]
    for mode, program in (("infer", function), ("train", partial(_gradients, function))):
        row = kernel._asdict() | {"formulation": formulation, "mode": mode, "batch": args.batch}
        del row["formulations"]
        try:
            with preferring("reference"), jax.default_matmul_precision("highest"):
                expected = jax.jit(partial(program))(*(x.astype(jnp.float32) for x in given))
            with preferring(formulation):  # JAX knows no such contexts: a new function is traced
                compiled, costs = compiled_costs(jax.jit(partial(program)), given)
            yield row | _timed(compiled, costs, given, expected, args.repeats, ceilings)
        # Whatever keeps one of them from running costs its row, not those of the others.
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            yield row | {"not_measured": said[0]}


def _timed(
    compiled: jax.stages.Compiled,
    costs: dict[str, Any],
    given: Sequence[Array],
    expected: Any,
    repeats: int,
    ceilings: Ceilings,
) -> dict[str, Any]:
    outputs = jax.block_until_ready(compiled(*given))
    errors = jax.tree.leaves(jax.tree.map(_difference, outputs, expected))
    count = repetitions_at_a_time(jax.default_backend())

    def run() -> None:
        for _ in range(count):
            outputs = compiled(*given)
        jax.block_until_ready(outputs)

    times, rates = [], []
    for _ in range(repeats):
        times.append(timed(run) / count)
        rates.append(ceilings.measure().bytes)
    least = sum(x.nbytes for x in (*given, *jax.tree.leaves(outputs)))
    shares = [least / time / rate for time, rate in zip(times, rates, strict=True)]
    return {
        "seconds": statistics.median(times),
        "least_bytes": least,
        "bytes_share_of_copy": statistics.median(shares),
        "copy_bytes_per_second": statistics.median(rates),
        "temporary_bytes": costs["temporary_bytes"],
        "compile_seconds": costs["compile_seconds"],
        "error": max(errors),
    }


def _difference(got: Array, expected: Array) -> float:
    """Largest, relative to the largest value; infinite where something isn't finite."""
    got, expected = (np.asarray(x, np.float32) for x in (got, expected))
    if not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def _of(kernel: Kernel, batch: int) -> tuple[Any, ...]:
    """The kernel as a function, and arrays for it."""
    rng = np.random.default_rng(0)
    channels, window = kernel.channels, kernel.window

    def values(*shape: int, scale: float = 1.0) -> np.ndarray:
        return scale * rng.standard_normal(shape, np.float32)

    x = values(batch, kernel.side, kernel.side, channels)
    if kernel.name == "depthwise":
        return depthwise_conv, x, values(window, window, 1, channels, scale=1 / window)
    heads = channels // HEAD_DIM

    def attend(x: Array, qkv: Array, out: Array, bias: Array) -> Array:
        layers = Projection(qkv, None), Projection(out, None)
        bias = bias.astype(jnp.float32)
        return window_attention(x, *layers, bias, kind="grid", window=(window, window))

    qkv = values(channels, 3, heads, HEAD_DIM, scale=channels**-0.5)
    out = values(heads, HEAD_DIM, channels, scale=channels**-0.5)
    return attend, x, qkv, out, values(heads, window**2, window**2)


def _gradients(function: Callable[..., Array], *arrays: Array) -> tuple[Array, ...]:
    """By all arrays, of the sum of the results' squares."""

    def loss(*arrays: Array) -> Array:
        return jnp.sum(jnp.square(function(*arrays).astype(jnp.float32)))

    return jax.grad(loss, tuple(range(len(arrays))))(*arrays)


if __name__ == "__main__":
    main()
