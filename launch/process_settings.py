"""Settings of a CPU process; measured, see docs/experiments.md. Nothing depends on them."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

# Of benchmarks: JAX's own; those of launch.train; all that were tried.
SETTINGS = ("default", "trainer", "tuned")

# Passed per compilation: dots and convolutions by Eigen, 512-bit vectors.
CPU_COMPILER_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    "xla_cpu_prefer_vector_width": "512",
}

# Of mallopt. A trim threshold of -1 never trims: steps free more than the largest that fits an int.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def set_allocator(settings: str) -> None:
    """Sets the allocator as `settings` of a benchmark say, one of `SETTINGS`; call before JAX."""
    if settings == "trainer":
        keep_freed_memory()
    elif settings == "tuned":
        tune_allocator()


def compiler_options(settings: str) -> dict[str, str]:
    """Returns what settings of that name pass to the compiler of this process."""
    tuned = settings == "tuned" and jax.default_backend() == "cpu"
    return CPU_COMPILER_OPTIONS if tuned else {}


def has_cpu_alone() -> bool:
    """Whether JAX will compute on the CPU, told before JAX starts: no plugin of a device is
    installed, or `JAX_PLATFORMS` says so. libtpu alone is none: it also compiles for TPUs that are
    elsewhere."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and not (importlib.util.find_spec("libtpu") and _has_tpu())


def _has_tpu() -> bool:
    """Whether a device of Google's is on the PCI bus, as JAX tells it."""
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    return any(vendor.read_text().strip() == "0x1ae0" for vendor in vendors)


def keep_freed_memory() -> bool:
    """Makes glibc keep and reuse the large buffers of a step instead of returning their pages; call
    before JAX starts.

    Page faults take a third of a small model's training step otherwise. Computations then run in
    the thread that asks for them: its heap is the only one that can grow to such sizes.

    Returns:
      Whether it took effect: only on Linux with glibc.
    """
    kept = _set_allocator({_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28})
    if kept:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept


def tune_allocator() -> bool:
    """The same for threads too, by one heap for all; call before JAX.

    What is compiled in such a process may run slower than what a cache has.

    Returns:
      Whether it took effect: only on Linux with glibc.
    """
    return _set_allocator({_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28})


def _set_allocator(settings: Mapping[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return {mallopt(parameter, value) for parameter, value in settings.items()} == {1}
