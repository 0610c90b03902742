"""TPU slices by name, without a TPU: their chips, and devices that XLA compiles for."""

import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from common.config import require
from common.errors import UserError, did_you_mean

INSTALL = "pip install 'multi-axis-jax[tpu-plan]'"


class Chip(NamedTuple):
    """What one device of a generation has: a chip, or its half where JAX shows two devices of it.

    Attributes:
      gib: HBM.
      usable_gib: of it what a program may have, the rest is the runtime's.
      gb_per_s: HBM bandwidth, 1e9 bytes per second.
      tflops: bfloat16, 1e12 per second.
      config: of the chip as libtpu names it: on v4 JAX shows both cores as one device.
      per_chip: devices that a chip is.
    """

    gib: float
    usable_gib: float
    gb_per_s: float
    tflops: float
    config: str = "default"
    per_chip: int = 1


# By libtpu's names. Published per chip: v4 to TPU7x on https://cloud.google.com/tpu/docs/v4, v5e,
# v5p, v6e and tpu7x; v2 and v3 in Jouppi et al., "A Domain-Specific Supercomputer for Training Deep
# Neural Networks" (CACM 2020), table 1. What programs may have is what libtpu 0.0.42 says when it
# refuses a program that is too large.
CHIPS = {
    "v2": Chip(8, 7.48, 350, 23, per_chip=2),
    "v3": Chip(16, 15.48, 450, 61.5, per_chip=2),
    "v4": Chip(32, 30.75, 1228, 275, config="megacore"),
    "v5e": Chip(16, 15.75, 819, 197),
    "v5p": Chip(95, 95.74, 2765, 459, config="megacore"),
    "v6e": Chip(32, 31.25, 1640, 918),
    "tpu7x": Chip(96, 94.75, 3690, 1153.5, per_chip=2),
}
_HOST = (2, 2, 1)  # chips of a host, the smallest part of a slice of several hosts

# Nobody is asked which TPU this machine has, which takes half a minute where there is none, and no
# lock is taken: several processes may compile.
_WITHOUT_TPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


class Topology(NamedTuple):
    """A slice of a TPU pod.

    Attributes:
      name: such as `v5e:4x4`.
      chip: what its devices have.
      devices: that programs can be compiled for; they run nothing.
    """

    name: str
    chip: Chip
    devices: list[jax.Device]


def topology(name: str) -> Topology:
    """Returns the slice of a name.

    Args:
      name: generation and sides in chips, such as `v5e:4x4` or `v4:2x2x2`.

    Raises:
      UserError: there is no such slice, or libtpu is missing.
    """
    generation, _, layout = name.partition(":")
    if generation not in CHIPS:
        hint = did_you_mean(generation, CHIPS)
        known = f"there are {', '.join(CHIPS)}"
        raise UserError(f"--topology={name}: no TPU is called {generation!r}, {hint} {known}")
    require(
        re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", layout) is not None,
        f"--topology={name}: expected sides in chips after the generation, such as"
        f" {generation}:{'4x4' if generation in ('v2', 'v3', 'v5e', 'v6e') else '2x2x2'}",
    )
    sides = [int(side) for side in layout.split("x")]
    chip = CHIPS[generation]
    host = [min(side, most) for side, most in zip((*sides, 1), _HOST, strict=False)]
    whole = [-(-side // most) * most for side, most in zip(sides, host, strict=False)]
    require(
        sides == whole,
        f"--topology={name}: hosts have 2x2 chips, and a slice has whole ones; nearest valid:"
        f" {generation}:{'x'.join(map(str, whole))}",
    )
    _require_libtpu()
    for variable, value in _WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    try:
        found = topologies.get_topology_desc(
            name, "tpu", chip_config_name=chip.config, chips_per_host_bounds=host
        )
    except (jax.errors.JaxRuntimeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--topology={name}: libtpu refuses it: {reason}") from error
    return Topology(name, chip, list(found.devices))


def _require_libtpu() -> None:
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        message = f"--topology compiles with libtpu, which runs without a TPU: {INSTALL}"
        raise UserError(message) from error
