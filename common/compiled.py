"""Programs that say when they are compiled, and what for."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from common.news import announced


def announcing(program: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
    """Returns a program that compiles before it runs where its arguments have new shapes, and says
    so: "compiling the model for 512x384".

    What it computes is the same. Time spent on it counts in no rate (`common.news.Activity`).
    Its attribute `compiled` takes the same arguments, or their shapes, and returns the compiled
    program without running it.

    Args:
      program: a jitted function of variables, or a state, whose shapes don't change, and of other
        arrays.
      what: from the arguments to what is compiled, such as "the model for 512x384".
    """
    known = {}

    def compiled(*args: Any) -> jax.stages.Compiled:
        shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(args[1:]))
        if shapes not in known:
            with announced(f"compiling {what(*args)}", "compiled"):
                known[shapes] = program.lower(*args).compile()
        return known[shapes]

    @functools.wraps(program)
    def run(*args: Any) -> Any:
        compiled(*args)  # which the call below finds again
        return program(*args)

    run.compiled = compiled
    return run


def sides(images: Any) -> str:
    """Returns width and height of images `[..., height, width, channels]`, such as "512x384"."""
    height, width = np.shape(images)[-3:-1]
    return f"{width}x{height}"
