"""A few damaged files of every kind; thousands: `python -m tests.fuzz`."""

import os
import random
import subprocess
import sys

import pytest

from common.errors import UserError
from tests.fuzz import pool
from tests.fuzz.damages import damage
from tests.fuzz.kinds import KINDS, Kind
from tests.launch.forks import ENVIRONMENT, ROOT

# TensorFlow and PyTorch take seconds to be imported, a run to be made.
QUICK = ("npz", "safetensors", "own directory", "hub folder", "png image", "table")


def test_a_few_of_every_kind():
    """In a process of its own, whose forks can use JAX."""
    command = [sys.executable, "-m", "tests.fuzz", f"--kinds={','.join(QUICK)}", "--cases=18"]
    settings = {"cwd": ROOT, "env": os.environ | ENVIRONMENT, "text": True, "timeout": 120}
    done = subprocess.run(command, capture_output=True, check=False, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == [*QUICK]
    read, refused, failed = (sum(int(row[column]) for row in rows[2:]) for column in (1, 2, 3))
    assert read > 0 and refused > 0 and failed == 0 and read + refused == 18


@pytest.mark.filterwarnings("ignore:os.fork")  # these readers use no threads
def test_what_must_not_happen_is_noticed(monkeypatch, tmp_path):
    """Readers that hang, crash, eat memory, miss a flipped bit, or say more than a line."""

    def hang(folder):
        while True:
            pass

    def unless_original(bad):
        def read(folder):
            return bad(folder) if folder.name == "case" else "content"

        return read

    class Lines(UserError):
        def __str__(self):
            return "one\nand another"

    def tell(folder):
        raise Lines("")

    bad = {
        "hung": hang,
        "died": lambda folder: pool.os._exit(3),
        "memory": lambda folder: len(bytes(range(256)) * (1 << 19)),
        "wrong": lambda folder: "other content",
        "traceback": lambda folder: 1 / 0,
        "no line": tell,
    }
    monkeypatch.setattr(pool, "MOST_BYTES", 1 << 26)

    def make(folder):
        (folder / "file").write_bytes(bytes(range(256)))

    for outcome, read in bad.items():
        monkeypatch.setattr(pool, "SECONDS", 0.5 if outcome == "hung" else 60)
        monkeypatch.setitem(KINDS, outcome, Kind(make, unless_original(read), True, False))
        cases = [pool.Case(outcome, 0, 0), pool.Case(outcome, 0, 1)]
        assert [result.outcome for result in pool.run_cases(cases)] == [outcome] * 2


def test_damage_follows_from_its_seed(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"depths": [1, 2], "name": "x"}')
        (tmp_path / name / "arrays").write_bytes(bytes(range(100)))
    for seed in range(40):
        told = [damage(tmp_path / name, random.Random(seed), instead=False) for name in "ab"]
        assert told[0] == told[1]
        for file in ("config.json", "arrays"):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
