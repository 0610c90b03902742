"""The benchmark of MAXIM's formulation: the same image, for less work by the compiler's count."""

import json

import pytest

from tests.launch.forks import run_commands

COMMAND = ["launch.tools.benchmark_maxim", "--model=maxim_s1", "--size=128", "--repeats=1"]


@pytest.mark.slow
def test_same_image_for_less(tmp_path):
    result = run_commands({"compare": COMMAND}, tmp_path)["compare"]
    assert result.status == 0, result.err
    figures = json.loads(result.out)
    assert figures["difference_over_std"] < 1e-4
    for cost in ("gflop", "gigabytes_accessed", "temporary_mib"):
        assert figures["ours"][cost] < figures["release"][cost], cost
