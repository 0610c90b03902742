"""Which formulation of a kernel runs."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping

from jax import Array, lax

from common.config import require
from common.errors import did_you_mean

_preferred = contextvars.ContextVar("preferred", default=())  # what "auto" stands for, if it may


@contextlib.contextmanager
def preferring(*names: str) -> Iterator[None]:
    """What is traced in the block and leaves the choice of formulations open gets the first of
    these that its kernel has, else the fastest as always.

    `"reference"` is one of every kernel: a converter to another format knows no platforms, and best
    what is plainest.
    """
    token = _preferred.set(names)
    try:
        yield
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
    preferred = _preferred.get() if implementation == "auto" else (implementation,)
    for chosen in preferred:
        if chosen in formulations:
            return formulations[chosen](*args)
    by_platform = {platform: formulations[name] for platform, name in fastest.items()}
    if len(set(fastest.values())) == 1:
        return by_platform["default"](*args)
    return lax.platform_dependent(*args, **by_platform)
