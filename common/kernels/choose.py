"""Which formulation of a kernel runs."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping

from jax import Array, lax

from common.config import require
from common.errors import did_you_mean

# What "auto" stands for where a kernel has it, and what of that was chosen.
_preferred = contextvars.ContextVar("preferred", default=((), set()))


@contextlib.contextmanager
def preferring(*names: str) -> Iterator[set[str]]:
    """What is traced in the block and leaves the choice of formulations open gets the first of
    these that its kernel has, else the fastest as always.

    `"reference"` is one of every kernel: a converter to another format knows no platforms, and best
    what is plainest.

    Yields:
      Those that were chosen so far.
    """
    chosen: set[str] = set()
    token = _preferred.set((names, chosen))
    try:
        yield chosen
    finally:
        _preferred.reset(token)


def choose(
    implementation: str,
    formulations: Mapping[str, Callable[..., Array]],
    fastest: Mapping[str, str],
    *args: Array | None,
) -> Array:
    """Runs one of a kernel's formulations, which all compute the same.

    Args:
      implementation: name of a formulation, or `"auto"`: what is preferred, else the fastest of
        the platform that the program is compiled for. A program exported for several platforms
        holds one for each.
      formulations: by name; `"reference"`, the plainest, among them.
      fastest: their names by platform (`"cpu"`, ..), and for all others by `"default"`.
      *args: of the formulation.

    Raises:
      UserError: there is no such formulation.
    """
    names = ("auto", *formulations)
    require(
        implementation in names,
        f"implementation={implementation!r}: {did_you_mean(str(implementation), names)}",
    )
    preferred, chosen = _preferred.get() if implementation == "auto" else ((implementation,), set())
    for name in preferred:
        if name in formulations:
            chosen.add(name)
            return formulations[name](*args)
    by_platform = {platform: formulations[name] for platform, name in fastest.items()}
    if len(set(fastest.values())) == 1:
        return by_platform["default"](*args)
    return lax.platform_dependent(*args, **by_platform)
