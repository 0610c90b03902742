"""Faults from outside: workers killed, disks full, signals in the wrong moment, older configs."""

import collections
import multiprocessing.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax import checkpoint as ocp

from common.data.pipeline import eval_batches, train_batches
from common.data.sources import ArraySource
from common.errors import UserError
from common.train import trainer
from common.train.run_directory import open_run
from common.train.sharding import put_batch
from tests.train import tiny
from tests.train.test_resume import DIGITS, complete

# ---------------------------------------------------------------- data workers


def local():
    """Transforms that workers get by value: they import little."""

    def plain(example, rng=None):
        return {"image": example["image"]}

    def deadly(example, rng):
        os._exit(3)

    return plain, deadly


plain, deadly = local()


def kill_workers():
    children = multiprocessing.active_children()
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    assert children


def test_killed_workers_are_replaced_and_nothing_is_lost(caplog):
    expected = train_batches(tiny.source(), plain, batch_size=4, seed=0)
    batches = train_batches(tiny.source(), plain, batch_size=4, seed=0, num_workers=1)
    for step in range(12):
        if step == 5:
            kill_workers()
        np.testing.assert_equal(next(batches), next(expected))
    batches.close()
    expected.close()
    assert "a data worker ended (exit status -9)" in caplog.text


def test_killed_worker_during_evaluation():
    batches = eval_batches(tiny.source(), plain, batch_size=4, num_workers=1)
    found = [next(batches)["index"]]
    kill_workers()
    found += [batch["index"] for batch in batches]
    np.testing.assert_array_equal(np.concatenate(found), [*range(tiny.EXAMPLES), -1, -1])


@pytest.mark.parametrize("make", [partial(train_batches, seed=0), eval_batches])
def test_worker_killed_at_its_start_is_replaced(make, monkeypatch, caplog):
    """Before it has read what it is to do: more than a pipe holds."""
    spawn, spawned = multiprocessing.util.spawnv_passfds, []

    def spawn_and_kill(path, args, fds):
        spawned.append(spawn(path, args, fds))
        if len(spawned) == 2:
            os.kill(spawned[-1], signal.SIGKILL)
        return spawned[-1]

    resource_tracker.ensure_running()  # started in the same way
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", spawn_and_kill)
    images = np.arange(40, dtype=np.uint8).repeat(64 * 64 * 3).reshape(40, 64, 64, 3)
    source = ArraySource(images, [0] * 40, ["a"])
    batches = make(source, plain, batch_size=4, num_workers=2)
    expected = make(source, plain, batch_size=4)
    for _ in range(8):
        np.testing.assert_equal(next(batches), next(expected))
    batches.close()
    expected.close()
    assert len(spawned) == 4 and "a data worker ended (exit status -9)" in caplog.text


def test_temporary_directory_without_room_for_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"temporary file: No such file or dir.*; let .*TMPDIR"):
        next(train_batches(tiny.source(), plain, batch_size=4, seed=0, num_workers=1))


def test_workers_that_keep_ending_stop_the_run():
    batches = train_batches(tiny.source(), deadly, batch_size=4, seed=0, num_workers=1)
    with pytest.raises(UserError, match=r"3 data workers in a row .* exit status 3; .*num_workers"):
        next(batches)


def children(pid):
    """The processes that a process started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def start_with_workers(workdir, **fields):
    """The digits recipe at its smallest, with two data workers, in a process group of its own."""
    fields = DIGITS | {"data.num_workers": 2, "checkpoint.every_steps": 10**6} | fields
    command = [sys.executable, "-m", "launch.train", "--config=configs/maxvit_digits.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    command += ["--config.train.num_steps=100000", f"--workdir={workdir}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | cache,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_stop_saves_though_a_worker_dies_and_the_others_get_the_signal(tmp_path):
    """As under SLURM, which signals all processes of a job."""
    with start_with_workers(tmp_path) as process:
        for line in process.stdout:
            if line.startswith("step 3/"):
                break
        family = children(process.pid)
        workers = [p for p in family if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        os.killpg(process.pid, signal.SIGTERM)
        shown = process.communicate(timeout=120)[0]
    assert process.returncode == 0, shown
    step = int(re.search(r"stopped by SIGTERM after step (\d+), which is saved", shown)[1])
    assert len(workers) == 2 and complete(tmp_path) == [step]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_workers_that_are_being_started_leave_the_signal_to_the_trainer(tmp_path):
    """Ctrl-C, which all processes get, when an evaluation has just begun."""
    fields = {"eval.every_steps": 5, "data.eval_batch_size": 4}
    with start_with_workers(tmp_path, **fields) as process:
        for line in process.stdout:
            if line.startswith("step 5/"):
                break
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        shown = process.communicate(timeout=120)[0]
    assert process.returncode == 0, shown
    assert "stopped by SIGINT after step 5, which is saved" in shown
    assert complete(tmp_path) == [5]


# ---------------------------------------------------------------- signals


def test_signals_are_requests_from_the_first_step_on(tmp_path, monkeypatch):
    handlers = []

    def put(batch, mesh):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return put_batch(batch, mesh)

    monkeypatch.setattr(trainer, "put_batch", put)
    tiny.run(tiny.quick({"train.num_steps": 2}), tmp_path, small=True)
    assert handlers[0] == signal.SIG_DFL and handlers[1] != signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_the_first_step_ends_the_command_at_once(number):
    """Status 0, though the main thread is busy, as a compiler is; not once the trainer listens."""
    code = """
import hashlib, os, signal, sys, time
from common.train.stop import StopRequest, leave_when_asked
number = int(sys.argv[1])
before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
with leave_when_asked():
    if len(sys.argv) == 2:
        with StopRequest() as stop:
            stop.listen()
            os.kill(os.getpid(), number)
            time.sleep(0.5)  # for the thread to see it
            assert stop.reached()
    print("ready", flush=True)
    if len(sys.argv) > 2:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
assert before == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
"""
    command = [sys.executable, "-c", code, str(int(number))]
    assert subprocess.run(command, timeout=60, check=True, capture_output=True).stdout == b"ready\n"
    with subprocess.Popen([*command, "busy"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        shown = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert shown == f"stopped by {number.name}, with nothing to save: the same command goes on\n"


def test_stop_cuts_an_evaluation_short(tmp_path, capsys):
    config = tiny.quick({"checkpoint.every_steps": 100})
    task = tiny.make_task(config, small=True)
    plain, updates = task.evaluators, []

    def evaluators():
        (found,) = plain()
        update = found.update

        def interrupted(*batch):
            if not updates:
                os.kill(os.getpid(), signal.SIGTERM)
            updates.append(1)
            update(*batch)

        found.update = interrupted
        return [found]

    task.evaluators = evaluators
    tiny.run(config, tmp_path, task=task)
    assert len(updates) == 1 and tiny.steps(tmp_path) == [3]
    assert "stopped by SIGTERM after step 3, which is saved" in capsys.readouterr().out
    assert not tiny.logged(tmp_path, "eval/loss")


# ---------------------------------------------------------------- disks

Usage = collections.namedtuple("Usage", "total used free")


def test_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    tiny.run(tiny.quick({"train.num_steps": 2}), tmp_path, small=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 10, 10))
    with pytest.raises(UserError, match=r"step 3 can't .* No space left on device; step 2 is kept"):
        tiny.run(tiny.quick(), tmp_path, small=True)
    assert tiny.steps(tmp_path) == [2]
    monkeypatch.undo()
    tiny.run(tiny.quick(), tmp_path, small=True)
    assert 6 in tiny.steps(tmp_path)


def test_disk_that_fills_up_while_files_are_written_is_noticed_at_the_next_metrics(
    tmp_path, monkeypatch
):
    def fail(self):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write ... [os_error_code='28']")

    config = tiny.quick({"eval.every_steps": 100})
    tiny.run(config | {"train": config["train"] | {"num_steps": 2}}, tmp_path, small=True)
    monkeypatch.setattr(ocp.CheckpointManager, "check_for_errors", fail)
    with pytest.raises(UserError, match="No space left on device; step 2 is kept"):
        tiny.run(config, tmp_path, small=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_while_metrics_are_written(tmp_path):
    with (
        pytest.raises(UserError, match=f"can't write to {tmp_path}: No space left on device"),
        open_run(str(tmp_path), {"train": {}}),
        open("/dev/full", "w") as file,
    ):
        file.write("{}\n")
        file.flush()


# ---------------------------------------------------------------- configs of older versions


def test_run_from_before_a_field_goes_on_with_its_default(tmp_path):
    old, new = {"train": {"num_steps": 4}}, {"train": {"num_steps": 4, "added": (1, 2)}}
    with open_run(str(tmp_path), old):
        (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    with open_run(str(tmp_path), new, {"train.added": (1, 2)}) as changes:
        assert changes == []
    for defaults, line in (({"train.added": 0}, "0 -> [1, 2]"), ({}, "absent -> [1, 2]")):
        message = re.escape(f"another config (train.added: {line})")
        with pytest.raises(UserError, match=message), open_run(str(tmp_path), new, defaults):
            pass
    gone = {"train": {"num_steps": 4}}
    (tmp_path / "config.json").write_text('{"train": {"num_steps": 4, "gone": 1}}')
    with (
        pytest.raises(UserError, match=re.escape("(train.gone: 1 -> absent)")),
        open_run(str(tmp_path), gone),
    ):
        pass
