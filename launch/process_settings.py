"""Settings of a CPU process; measured, see docs/benchmarks.md. Nothing depends on them."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

# Passed per compilation: dots and convolutions by Eigen, 512-bit vectors.
CPU_COMPILER_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    "xla_cpu_prefer_vector_width": "512",
}


def has_cpu_alone() -> bool:
    """Whether JAX will compute on the CPU, told before JAX starts: no plugin of a device is
    installed, or `JAX_PLATFORMS` says so."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def tune_allocator() -> bool:
    """Makes glibc keep and reuse large buffers instead of returning their pages; call before JAX.

    Page faults, not arithmetic, dominate element-wise operations on big buffers otherwise. The
    process's memory then never shrinks.

    Returns:
      Whether it took effect: only on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    arena_max, mmap_max, trim_threshold, top_pad = -8, -4, -1, -2
    # A threshold of -1 never trims; training steps free more than the largest one that fits an int.
    settings = ((arena_max, 1), (mmap_max, 0), (trim_threshold, -1), (top_pad, 2**28))
    return [mallopt(parameter, value) for parameter, value in settings] == [1] * len(settings)
