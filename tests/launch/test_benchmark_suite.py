"""Suites: their rows, what a failure and a budget leave, timm's models after ours."""

import contextlib
import json
import subprocess
import sys

import pytest

from common.errors import UserError
from launch import benchmark, benchmark_suite, peer
from tests.launch.forks import run_commands, succeeded
from tests.launch.test_benchmark_table import FACTS, RATES, TIMES

SUITE = benchmark_suite.Suite(
    "gpu",
    "bfloat16",
    ("--small",),
    (
        benchmark_suite.Work("caformer_s18", "train", 4),
        benchmark_suite.Work("kernels", "both", 2, prefer="triton"),
        benchmark_suite.Work("maxvit_tiny", "infer", 4, prefer="triton"),
        benchmark_suite.Work("moat_0", "infer", 4),
    ),
)
KERNEL = {"name": "depthwise", "side": 4, "channels": 8, "window": 3, "formulation": "triton"}
KERNEL |= {"mode": "infer", "batch": 2}
SECONDS = {"seconds": 0.001, "bytes_share_of_copy": 0.5, "copy_bytes_per_second": 2e12}
SECONDS |= {"temporary_bytes": 2**20, "compile_seconds": 1.0, "error": 0.01}


class Timm:
    """Takes 30 seconds for ten repetitions; of CAFormer with channels last it fails."""

    first_seconds = 64.0

    def __init__(self, python, model, peer_mode, **settings):
        assert settings["dtype"] == "bfloat16" and settings["limit"] is None
        if peer_mode == "channels_last":
            raise UserError("the peer did not start: no | memory")

    def repetition(self, count):
        assert count == 10
        return 30.0

    def close(self):
        pass


@pytest.fixture
def run(monkeypatch):
    """Runs a command line whose rows are made up on a made-up GPU; returns the rows' commands."""
    commands, platform = [], ["gpu"]

    def measured(command, **_):
        if command[1] == "-c":
            known = {"kind": "H100", "platform": platform[0], "jax": "0.10.2"}
            return subprocess.CompletedProcess(command, 0, json.dumps(known), "")
        commands.append(command[2:])
        if "--model=moat_0" in command:
            return subprocess.CompletedProcess(command, 1, b"", b"Traceback\nValueError: no good\n")
        if "launch.tools.benchmark_kernels" in command:
            lines = f"{json.dumps(KERNEL | SECONDS)}\n{{cut off"
            return subprocess.CompletedProcess(command, -11, lines.encode(), b"")
        flags = dict(flag[2:].split("=", 1) for flag in command if "=" in flag)
        row = FACTS | TIMES | RATES | {"platform": "gpu", "model": flags["model"]}
        return subprocess.CompletedProcess(command, 0, json.dumps(row).encode(), b"")

    def run(*flags, there="gpu"):
        platform[:] = [there]
        monkeypatch.setattr(sys, "argv", ["benchmark", "--suite=gpu", *map(str, flags)])
        monkeypatch.setattr(subprocess, "run", measured)
        monkeypatch.setattr(peer, "Peer", Timm)
        monkeypatch.setattr(peer, "is_installed", lambda: True)
        monkeypatch.setitem(benchmark_suite.SUITES, "gpu", SUITE)
        benchmark.main()
        return commands

    return run


def test_a_suite_measures_models_and_kernels_beside_timm(run, tmp_path, capsys):
    files = [tmp_path / "gpu.json", tmp_path / "gpu.md"]
    commands = run("--output", *files)
    caformer, kernels, triton, _ = commands
    assert caformer[0] == triton[0] == "launch.benchmark"
    assert {"--model=caformer_s18", "--mode=train", "--batch=4", "--size=224"} <= {*caformer}
    assert all("--dtype=bfloat16" in command for command in commands)
    assert "--prefer=triton" in triton and not any("prefer" in flag for flag in caformer)
    assert {"--formulations=triton", "--small", "--batch=2"} <= {*kernels}
    result = json.loads(files[0].read_text())
    first, second, third = result["models"]
    assert first["timm_compile"] == {
        "step_seconds": 3.0,
        "images_per_second": 4 / 3,
        "speedup": 6.0,
        "compile_seconds": 61.0,
    }
    assert first["timm_channels_last"] == {"not_measured": "the peer did not start: no | memory"}
    assert "timm_compile" not in second and second["prefers"] == "triton"
    assert third["not_measured"] == "ValueError: no good"
    depthwise, crashed = result["kernels"]
    assert depthwise == KERNEL | SECONDS
    assert crashed["formulation"] == "triton" and "signal 11" in crashed["not_measured"]
    text = files[1].read_text()
    assert "H100 (gpu), jax 0.10.2, bfloat16." in text
    head, _, line, *_ = (t for t in text.splitlines() if t.startswith("|"))
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["faster than timm compile by"] == "6.00" and cells["batch"] == "4"
    assert cells["timm channels_last, images/s"].startswith("not measured: the peer did not start")
    assert "| depthwise | 4 | 8 | 3 | infer | 2 | triton | 1.00 | 50% | 2,000 |" in text
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("model", row.get("name")) for row in printed] == [
        *["caformer_s18"] * 3,
        *["depthwise", ""],
        *["maxvit_tiny", "moat_0"],
    ]


def test_files_have_what_there_is_when_the_suite_is_cut_off(run, monkeypatch, tmp_path):
    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark_suite, "_timm", cut)
    with pytest.raises(KeyboardInterrupt):
        run("--output", tmp_path / "gpu.json")
    (row,) = json.loads((tmp_path / "gpu.json").read_text())["models"]
    assert row["step_seconds"] == 0.5


def test_the_budget_ends_in_what_is_done(run, tmp_path):
    assert run("--budget=1", "--output", tmp_path / "gpu.json") == []
    result = json.loads((tmp_path / "gpu.json").read_text())
    rows = [*result["models"], *result["kernels"]]
    assert len(rows) == 4 and {row["not_measured"] for row in rows} == {"the budget was spent"}


def test_what_a_row_has_said_before_its_time_is_over_counts(monkeypatch):
    monkeypatch.setattr(benchmark_suite, "_LEAST", 0)
    script = "import time; print('{\"seconds\": 1}', flush=True); time.sleep(60)"
    ends = benchmark_suite.time.monotonic() + 2
    rows, why = benchmark_suite._lines([sys.executable, "-c", script], {}, ends)
    assert rows == [{"seconds": 1}] and why == "the budget was spent meanwhile"


def test_rows_are_chosen_by_model(run):
    assert len(run("--models", "kernels", "moat_*")) == 2


@pytest.mark.parametrize(
    ("flags", "there", "message"),
    [
        ([], "cpu", "--suite=gpu: JAX sees no gpu here, only cpu: "),
        (["--models", "caformer_s36"], "gpu", "--suite=gpu has no 'caformer_s36': did you mean"),
        (["--output", "a.png"], "gpu", "a.png is none of .json, .md"),
    ],
)
def test_mistakes_are_told_before_anything_runs(run, flags, there, message):
    with pytest.raises(UserError) as error:
        run(*flags, there=there)
    assert message in str(error.value)


def test_a_peer_that_fails_says_why(tmp_path):
    python = tmp_path / "python"
    for script, message in (
        ("echo ready 1.0; read line; echo a warning >&2; echo out of memory >&2", "failed: out of"),
        ("echo no such model >&2; exit 1", "did not start: .*: no such model"),
        ("sleep 60", "ended by signal 9"),  # in a process of its own
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        with pytest.raises(UserError, match=message):
            other = peer.Peer(str(python), "caformer_s18", "eager", size=32, limit=2)
            with contextlib.closing(other):
                other.repetition()


@pytest.mark.slow  # a process for every row
def test_every_kind_of_row_runs(tmp_path):
    files = [str(tmp_path / name) for name in ("smoke.json", "smoke.md")]
    command = ["launch.benchmark", "--suite=smoke", "--repeats=1", "--peer_modes", "eager"]
    command += ["--output", *files]
    succeeded(run_commands({"suite": command}, tmp_path)["suite"])
    result = json.loads((tmp_path / "smoke.json").read_text())
    assert all(row["step_seconds"] > 0 for row in result["models"])
    assert {row["prefers"] for row in result["models"]} == {"the platform's", "shifted"}
    measured = {row["formulation"] for row in result["kernels"] if "seconds" in row}
    assert measured == {"reference", "turned_keys", "jax_nn", "triton", "shifted"}
    assert all(row["error"] < 0.05 for row in result["kernels"] if "seconds" in row)
    (why,) = {row["not_measured"] for row in result["kernels"] if "not_measured" in row}
    assert why.startswith("implementation='cudnn': ")
