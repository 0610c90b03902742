"""Tables of several models: each on its own, files of what there is so far, timm where it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from common.errors import UserError
from launch import benchmark, ceilings
from launch.timed_program import TimedProgram

FACTS = {"mode": "infer", "dtype": "float32", "settings": "default", "device": "cpu"}
FACTS |= {"platform": "cpu", "jax": "0.10.2", "flops": 3e9, "compile_seconds": 12.0}
TIMES = {"step_seconds": 0.5, "images_per_second": 4.0, "peak_memory_bytes": 2**30}
RATES = {"flops_per_second": 6e9, "matmul_flops_per_second": 60e9, "flops_share_of_matmul": 0.1}
RATES |= {"bytes_per_second": 4e9, "copy_bytes_per_second": 8e9, "bytes_share_of_copy": 0.5}
TIMM = {"step_seconds": 1.0, "images_per_second": 2.0, "speedup": 1.987, "compile_seconds": 61.5}


@pytest.fixture
def run(monkeypatch):
    """Runs a command line whose rows are made up; returns the commands of the rows."""
    commands = []

    def measured(command, **_):
        commands.append(command[3:])
        flags = dict(flag[2:].split("=", 1) for flag in command if "=" in flag)
        row = {"model": flags["model"], "size": int(flags["size"]), "batch": int(flags["batch"])}
        if flags["model"] == "moat_1":
            return subprocess.CompletedProcess(command, 2, "", "a warning\nerror: no | memory\n")
        if flags["model"] == "moat_2":
            return subprocess.CompletedProcess(command, -9, "", "")
        row |= FACTS | {"not_measured": "needs 34.0 GiB of 24.0"}
        if (flags["model"], flags["size"]) != ("full_attention", "1024"):
            del row["not_measured"]
            row |= TIMES | RATES
        if "--compare=timm" in command:
            row |= {"timm_eager": TIMM | {"speedup": 3}, "timm_compile": TIMM}
        return subprocess.CompletedProcess(command, 0, json.dumps(row) + "\n", "")

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, flags)])
        monkeypatch.setattr(subprocess, "run", measured)
        benchmark.main()
        return commands

    return run


def test_models_by_pattern_beside_timm(run, tmp_path, capsys):
    files = [tmp_path / "table.json", tmp_path / "table.md"]
    flags = ("--compare=timm", "--peer_modes", "eager", "compile", "--batch=2")
    flags += ("--mode=train", "--remat")
    commands = run("--models", "moat_[0-2]", "moat_0", "poolformer_s12", *flags, "--output", *files)
    assert [c[0] for c in commands] == [
        *(f"--model=moat_{i}" for i in range(3)),
        "--model=poolformer_s12",
    ]
    assert all({"--mode=train", "--batch=2", "--remat", "--size=224"} <= {*c} for c in commands)
    assert [c[-4:] == ["--compare=timm", "--peer_modes", "eager", "compile"] for c in commands] == [
        *(False, False, False),
        True,
    ]
    result = json.loads(files[0].read_text())
    assert result["command"].startswith("python -m launch.benchmark --models 'moat_[0-2]'")
    assert result["rows"][3]["timm_compile"] == TIMM and len(result["rows"]) == 4
    table = [line for line in files[1].read_text().splitlines() if line.startswith("|")]
    assert table == capsys.readouterr().out.splitlines()
    header, _, moat, _, killed, pool = ([*map(str.strip, t.split("|"))] for t in table)
    titles = ["timm {}, images/s", "faster than timm {} by", "timm {} compiled in, s"]
    modes = ("eager", "compile")
    assert header[-7:-1] == [title.format(mode) for mode in modes for title in titles]
    measured = ["224", "4.00", "0.500", "6.00 (10%)", "4.00 (50%)", "1.00", "12.0"]
    assert moat[1:-1] == ["moat_0", *measured, *6 * [""]]
    assert pool[1:-1] == [
        "poolformer_s12",
        *measured,
        "2.00",
        "3.00",
        "61.5",
        "2.00",
        "1.99",
        "61.5",
    ]
    assert "| not measured: no \\| memory |" in table[3]
    assert killed[3].startswith("not measured: ended by signal 9")
    assert "a product of matrices 60 GFLOP/s, a copy 8.0 GB/s" in files[1].read_text()


def test_costs_of_resolutions_are_drawn(run, tmp_path):
    files = [tmp_path / "costs.json", tmp_path / "costs.png"]
    models = ("full_attention", "maxim_s2")
    commands = run("--models", *models, "--resolutions", 256, 1024, "--output", *files)
    assert len(commands) == 4 and all("--pad_inputs" in command for command in commands)
    rows = json.loads(files[0].read_text())["rows"]
    assert ["not_measured" in row for row in rows] == [False, True, False, False]
    with Image.open(files[1]) as picture:
        width, height = picture.size
    assert width > 2 * height  # two panels


def test_default_resolutions_show_every_family(run):
    commands = run("--resolutions", "--batch=1")
    shown = {command[0].removeprefix("--model=") for command in commands}
    assert {"maxvit_tiny", "moat_0", "aewin_tiny", "maxim_s2", "full_attention"} <= shown
    assert {command[1] for command in commands} >= {"--size=224", "--size=1024"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "maxvit_tinny"], "no model is called 'maxvit_tinny': did you mean 'maxvit_t"),
        (["--models", "moat_0", "--output", "a.txt"], "a.txt is none of .json, .md, .png"),
        (["--models", "moat_0", "--output", "a.png"], "a.png needs --resolutions"),
        (["--models", "moat_0", "--output", "{tmp}/no/a.md"], "there is no folder {tmp}/no"),
        (["--models", "moat_0", "--output", "{tmp}/a.md"], "{tmp}/a.md exists already"),
    ],
)
def test_mistakes_are_told_before_anything_runs(run, tmp_path, flags, message):
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(UserError) as error:
        run(*(flag.format(tmp=tmp_path) for flag in flags))
    assert message.format(tmp=tmp_path) in str(error.value)
    assert (tmp_path / "a.md").read_text() == "mine"


PEER = """#!/bin/sh
echo "$@" > {folder}/flags
echo ready 9.5
while read -r line; do echo 2.0; done
"""


def test_timm_takes_turns_and_its_first_repetition_compiles(monkeypatch, tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text(PEER.format(folder=tmp_path))
    python.chmod(0o755)
    program = TimedProgram(lambda: None, 1.5, 1e9, 2e9, 0, 0)
    monkeypatch.setattr(benchmark, "timed_program", lambda *_, **__: program)
    monkeypatch.setattr(benchmark, "timed", lambda run: 4.0)
    monkeypatch.setattr(benchmark, "PAUSE", 0)
    monkeypatch.setattr(ceilings.Ceilings, "__init__", lambda self, *_: None)
    monkeypatch.setattr(ceilings.Ceilings, "measure", lambda self: ceilings.Rates(1e9, 1e9))
    flags = ["--batch=2", "--repeats=3", f"--peer_python={python}", "--peer_modes", "compile"]
    monkeypatch.setattr(sys, "argv", ["benchmark", *flags])
    benchmark.main()
    result = json.loads(capsys.readouterr().out)
    assert result["timm_compile"] == {
        "step_seconds": 2.0,
        "images_per_second": 1.0,
        "speedup": 0.5,
        "compile_seconds": 7.5,
    }
    assert (result["compile_seconds"], result["step_seconds"]) == (1.5, 4.0)
    assert (result["flops_per_second"], result["flops_share_of_matmul"]) == (0.25e9, 0.25)
    assert (result["bytes_per_second"], result["bytes_share_of_copy"]) == (0.5e9, 0.5)
    script, *flags = (tmp_path / "flags").read_text().split()
    assert Path(script).is_file()
    assert {"--model=maxvit_tiny_tf_224", "--peer_mode=compile", "--batch=2"} <= {*flags}
