"""Programs that say when they are compiled, and what for."""

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from common.news import announced


def announcing(program: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
    """Returns a program that compiles before it runs where its arguments have new shapes, and says
    so: "compiling the model for 512x384".

    What it computes is the same. Time spent on it counts in no rate (`common.news.Activity`).
    Its attribute `compiled` takes the same arguments, or their shapes, and returns the compiled
    program without running it; `compile_ahead` takes several of them, and compiles them in turn,
    two at once, while the caller does something else.

    Args:
      program: a jitted function of variables, or a state, whose shapes don't change, and of other
        arrays.
      what: from the arguments to what is compiled, such as "the model for 512x384".
    """
    known: dict[Any, jax.stages.Compiled] = {}
    under_way: dict[Any, Future[jax.stages.Compiled]] = {}

    def shapes_of(args: tuple[Any, ...]) -> Any:
        return tuple((x.shape, x.dtype) for x in jax.tree.leaves(args[1:]))

    def compile_now(*args: Any) -> jax.stages.Compiled:
        return program.lower(*args).compile()

    def compiled(*args: Any) -> jax.stages.Compiled:
        shapes = shapes_of(args)
        if shapes not in known:
            with announced(f"compiling {what(*args)}", "compiled"):
                ahead = under_way.pop(shapes, None)
                known[shapes] = ahead.result() if ahead else compile_now(*args)
        return known[shapes]

    def compile_ahead(calls: Iterable[tuple[Any, ...]]) -> None:
        threads = ThreadPoolExecutor(2)  # compiling one program takes a single core
        for args in calls:
            shapes = shapes_of(args)
            if shapes not in known and shapes not in under_way:
                under_way[shapes] = threads.submit(compile_now, *args)
        threads.shutdown(wait=False)

    @functools.wraps(program)
    def run(*args: Any) -> Any:
        compiled(*args)  # which the call below finds again
        return program(*args)

    run.compiled, run.compile_ahead = compiled, compile_ahead
    return run


def sides(images: Any) -> str:
    """Returns width and height of images `[..., height, width, channels]`, such as "512x384"."""
    height, width = np.shape(images)[-3:-1]
    return f"{width}x{height}"
