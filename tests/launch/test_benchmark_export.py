"""The benchmark of exported files: a table with a row per model and batch."""

import re

import pytest

from tests.launch.forks import run_commands

COMMAND = ["launch.tools.benchmark_export", "--models=poolformer_s12", "--batches=2"]
COMMAND += ["--size=32", "--repeats=1"]


@pytest.mark.slow
def test_table(tmp_path):
    result = run_commands({"table": COMMAND}, tmp_path)["table"]
    assert result.status == 0, result.err
    header, rule, row = result.out.splitlines()
    assert header.startswith("| model at 32, batch | JAX | onnxruntime | onnxruntime, open sides |")
    assert len({line.count("|") for line in (header, rule, row)}) == 1
    label, *speeds = row.strip("| ").split(" | ")
    assert label == "poolformer_s12, 2"
    assert len(speeds) >= 3 and all(re.fullmatch(r"\d+\.\d", text) for text in speeds)
    assert min(map(float, speeds)) > 0
