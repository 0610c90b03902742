"""The memory of a CPU: the machine's, or what its container may take."""

import jax

from common import device_memory as module
from common.device_memory import device_memory


def test_memory_of_a_cpu(tmp_path, monkeypatch):
    limits = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    monkeypatch.setattr(module, "_CGROUP_LIMITS", limits)
    (cpu, *_) = jax.devices("cpu")
    machine = device_memory(cpu)
    assert machine > 2**28
    limits[0].write_text("max\n")
    assert device_memory(cpu) == machine
    limits[1].write_text("1073741824\n")
    assert device_memory(cpu) == min(machine, 2**30)
