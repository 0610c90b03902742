"""Settings of a CPU process do what they say, in a process of their own."""

import subprocess
import sys

import jax
import pytest

from launch.main import compilation_cache
from launch.process_settings import has_cpu_alone

FAULTS = """
import resource, sys
import numpy as np
from launch.process_settings import keep_freed_memory

if sys.argv[1] == "tuned":
    assert keep_freed_memory()
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)  # 128 MB, more than glibc keeps unless it is told to
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[1] / faults[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again():
    def again(how):
        command = [sys.executable, "-c", FAULTS, how]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert again("plain") > 0.9
    assert again("tuned") < 0.1


def test_platform_is_known_before_jax_starts(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert has_cpu_alone()
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert not has_cpu_alone()
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ["cuda"])
    assert not has_cpu_alone()


@pytest.mark.parametrize(("asked", "kept"), [(None, 0.0), ("2", 7.0)])
def test_small_programs_are_kept_unless_the_user_says(asked, kept, monkeypatch):
    smallest = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, smallest)
    monkeypatch.delenv(smallest.upper(), raising=False)
    if asked:
        monkeypatch.setenv(smallest.upper(), asked)  # read when JAX was imported
    try:
        jax.config.update(smallest, 7.0)
        compilation_cache()
        assert getattr(jax.config, smallest) == kept
    finally:
        jax.config.update(smallest, before)


def test_libtpu_alone_is_no_device(monkeypatch):
    """It also compiles for TPUs that are elsewhere (launch.plan --topology)."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("launch.process_settings._has_tpu", lambda: False)
    assert has_cpu_alone()
    monkeypatch.setattr("launch.process_settings._has_tpu", lambda: True)
    assert not has_cpu_alone()
