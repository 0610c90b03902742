"""Which formulation of a kernel runs."""

from collections.abc import Callable, Mapping

from jax import Array, lax

from common.config import require
from common.errors import did_you_mean


def choose(
    implementation: str,
    formulations: Mapping[str, Callable[..., Array]],
    fastest: Mapping[str, str],
    *args: Array | None,
) -> Array:
    """Runs one of a kernel's formulations, which all compute the same.

    Args:
      implementation: name of a formulation, or `"auto"`: the fastest of the platform that the
        program is compiled for. A program exported for several platforms holds one for each.
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
    if implementation != "auto":
        return formulations[implementation](*args)
    by_platform = {platform: formulations[name] for platform, name in fastest.items()}
    if len(set(fastest.values())) == 1:
        return by_platform["default"](*args)
    return lax.platform_dependent(*args, **by_platform)
