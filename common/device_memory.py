"""How much memory a device has for programs: its own, or for a CPU what the machine allows."""

import os
from pathlib import Path

import jax

# What a container may take, by version of Linux's control groups.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def device_memory(device: jax.Device) -> int:
    """Returns the bytes that a device has, whatever of them is in use."""
    stats = device.memory_stats() or {}  # a CPU has none
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():  # else "max"
            limits.append(int(text))
    return min(limits)
