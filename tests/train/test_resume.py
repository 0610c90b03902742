"""Runs that are killed, asked to stop, or find their checkpoints damaged."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.file_locks import locked
from common.train import checkpoint, sharding, trainer
from common.train.checkpoint import CheckpointConfig, Checkpoints, restore_variables
from common.train.sharding import put_batch
from common.train.stop import StopRequest
from configs import maxvit_digits
from launch.tools.kill_and_resume import _identical as identical
from maxvit_jax.tasks.classification import ClassificationTask
from tests.train import tiny

# The digits recipe at its smallest, a checkpoint every second step.
DIGITS = {
    "model.widths": (32,),
    "model.depths": (1,),
    "model.stem_widths": (4, 8),
    "data.batch_size": 4,
    "data.eval_batch_size": 60,
    "data.image_size": 16,
    "schedule.warmup_steps": 2,
    "schedule.decay_steps": 1000,
    "train.log_every": 1,
    "train.sample_images": False,
    "eval.every_steps": 100_000,
    "checkpoint.every_steps": 2,
}


def train_digits(workdir, steps):
    config = maxvit_digits.get_config()
    config.update_from_flattened_dict(DIGITS | {"train.num_steps": steps})
    return tiny.run(config, workdir, task=ClassificationTask(config))


def test_killed_run_resumes_bit_identical(tmp_path, capsys):
    """Killed by the system while it writes a checkpoint or soon after; continued here."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "launch.train", "--config=configs/maxvit_digits.py"]
    command += [f"--config.{name}={value}" for name, value in DIGITS.items()]
    command += ["--config.train.num_steps=100000", f"--workdir={killed}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | cache
    ) as process:
        for line in process.stdout:
            if re.match(r"step [5-9]/", line):
                break
        while process.poll() is None and not complete(killed):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    reached = max(complete(killed))
    last = reached + 3
    train_digits(killed, last)
    shown = capsys.readouterr().out
    assert f"continuing from step {reached}; train.num_steps: 100000 -> {last}" in shown
    train_digits(whole, last)
    tiny.assert_identical(tiny.stored(killed, last), tiny.stored(whole, last))
    losses = [tiny.logged(workdir, "train/loss") for workdir in (killed, whole)]
    assert losses[0] == losses[1] and list(losses[0]) == list(range(1, last + 1))


def complete(workdir):
    """Steps of complete checkpoints, while others are being written."""
    folder = workdir / "checkpoints"
    return [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []


# ---------------------------------------------------------------- asked to stop


def disturbed(call, action):
    """`put`, which places batches on the mesh, but with something happening on its n-th call."""
    calls = itertools.count(1)

    def put(batch, mesh):
        return put_batch(action(batch) if next(calls) == call else batch, mesh)

    return mock.patch.object(trainer, "put_batch", put)


def test_stopped_run_goes_on_bit_identical(tmp_path, capsys):
    config = tiny.quick({"checkpoint.every_steps": 100, "eval.every_steps": 100})

    def interrupt(batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return batch

    before = signal.getsignal(signal.SIGTERM)
    with disturbed(4, interrupt):
        tiny.run(config, tmp_path / "stopped", small=True)
    assert signal.getsignal(signal.SIGTERM) is before
    assert tiny.steps(tmp_path / "stopped") == [4]
    assert "stopped by SIGTERM after step 4, which is saved" in capsys.readouterr().out
    results = tiny.run(config, tmp_path / "stopped", small=True)
    assert results == tiny.run(config, tmp_path / "whole", small=True)
    tiny.assert_identical(tiny.stored(tmp_path / "stopped", 6), tiny.stored(tmp_path / "whole", 6))


def test_second_signal_ends_the_command_at_once():
    code = """
import hashlib, os, signal, time
from common.train.stop import StopRequest, leave_when_asked
with leave_when_asked(), StopRequest() as stop:
    stop.listen()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    assert stop.reached() and stop.signal == signal.SIGINT
    print("asked", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # busy, as a compiler is
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "asked\n"
        run.send_signal(signal.SIGTERM)
        assert (run.wait(timeout=30), run.stdout.read()) == (128 + signal.SIGTERM, "")


def test_second_interrupt_in_a_notebook_is_an_exception():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        stop.listen()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reached()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six steps without a break, checkpoints at 2, 3, 4 and 6."""
    workdir = tmp_path_factory.mktemp("whole")
    tiny.run(tiny.quick(), workdir, small=True)
    return workdir


def flip_a_bit(workdir, step):
    """Of the largest file: where the arrays are."""
    files = [p for p in (workdir / "checkpoints" / str(step) / "state").rglob("*") if p.is_file()]
    path = max(files, key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """The first four of the six steps, evaluated at 3 and 4."""
    workdir = tmp_path_factory.mktemp("part")
    tiny.run(tiny.quick({"train.num_steps": 4}), workdir, small=True)
    return workdir


@pytest.mark.parametrize(("damaged", "other"), [(4, 3), (3, 4)])
def test_metrics_of_a_checkpoint_are_damaged(whole, part, tmp_path, capsys, caplog, damaged, other):
    """Orbax reads those of all; the arrays are intact."""
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints" / str(damaged) / "metrics" / "metrics"
    data = bytearray(path.read_bytes())
    data[1] ^= 2
    assert data.startswith(b'{ score"')
    path.write_bytes(data)
    for best in (True, False):
        assert restore_variables(str(tmp_path), best=best)[0] == other
    assert tiny.steps(tmp_path) == [2, 3, 4] and not (tmp_path / "damaged").exists()
    tiny.run(tiny.quick(), tmp_path, small=True)
    assert f"continuing from step {other}" in capsys.readouterr().out
    assert f"checkpoints/{damaged} is damaged: metrics/metrics differs" in caplog.text
    assert [p.name.split("_")[0] for p in (tmp_path / "damaged").iterdir()] == [str(damaged)]
    tiny.assert_identical(tiny.stored(tmp_path, 6), tiny.stored(whole, 6))


def test_times_that_orbax_cannot_read_are_damage(part, tmp_path):
    """It writes them after the checksums, and does without what is no JSON."""
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints" / "4" / "_CHECKPOINT_METADATA"
    for content, expected in (("{", 4), ("[]", 3), ('{"init_timestamp_nsecs": "x"}', 3)):
        path.write_text(content)
        assert restore_variables(str(tmp_path))[0] == expected
    path.unlink()
    assert restore_variables(str(tmp_path))[0] == 4
    os.mkfifo(path)
    assert restore_variables(str(tmp_path))[0] == 3


def test_what_is_not_the_runs_own_does_not_matter(part, tmp_path, capsys):
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "checkpoints"
    for name in (".DS_Store", "notes.txt~", "state/.nfs0001", "state/d/x", "metrics/x", "more/x"):
        (folder / "4" / name).parent.mkdir(exist_ok=True)
        (folder / "4" / name).write_text("x")
    for name in ("²", "007"):
        (folder / name).mkdir()
    assert restore_variables(str(tmp_path))[0] == 4
    tiny.run(tiny.quick({"train.num_steps": 5}), tmp_path, small=True)
    assert "continuing from step 4" in capsys.readouterr().out
    assert not (tmp_path / "damaged").exists()


def test_run_goes_on_from_an_earlier_checkpoint_when_the_last_is_damaged(whole, tmp_path, caplog):
    config = tiny.quick({"train.num_steps": 4})
    tiny.run(config, tmp_path, small=True)
    flip_a_bit(tmp_path, 4)
    _, variables = restore_variables(str(tmp_path))
    expected = tiny.stored(tmp_path, 3)["ema/params/Dense_0/kernel"]
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["kernel"], expected)
    tiny.run(tiny.quick(), tmp_path, small=True)
    assert re.search(r"checkpoints/4 is damaged: .* differs from its checksum", caplog.text)
    assert [p.name.split("_")[0] for p in (tmp_path / "damaged").iterdir()] == ["4"]
    for step in (4, 6):
        tiny.assert_identical(tiny.stored(tmp_path, step), tiny.stored(whole, step))


@pytest.mark.parametrize("links, step", [(True, 4), (False, 3)])
def test_trainer_removes_checkpoints_while_they_are_read(part, tmp_path, monkeypatch, links, step):
    """It may do so in any moment. Links stay; where there are none the next is read."""
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)
    expected, read = tiny.stored(part, step)["ema/params/Dense_0/kernel"], checkpoint._published

    def removed(held):
        if tiny.steps(tmp_path)[-1] == 4:
            shutil.rmtree(tmp_path / "checkpoints" / "4")
        return read(held)

    monkeypatch.setattr(checkpoint, "_published", removed)
    if not links:
        monkeypatch.setattr(os, "link", mock.Mock(side_effect=OSError))
    found, variables = restore_variables(str(tmp_path))
    assert found == step and tiny.steps(tmp_path) == [2, 3]
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["kernel"], expected)
    assert not [*tmp_path.glob(".reading*")]


def test_links_of_killed_readers_are_removed(part, tmp_path):
    """By readers and trainers; not those of readers at work."""
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)

    def left(name):
        (tmp_path / name / "3").mkdir(parents=True)
        os.link(tmp_path / "checkpoints" / "3" / "SHA256SUMS", tmp_path / name / "3" / "SHA256SUMS")

    with locked(tmp_path / ".reading-now" / "lock", "now"):
        left(".reading-now")
        for look in (restore_variables, lambda path: Checkpoints(path, CheckpointConfig()).close()):
            left(".reading-before")
            look(str(tmp_path))
            assert [path.name for path in tmp_path.glob(".reading-*")] == [".reading-now"]
    restore_variables(str(tmp_path))
    assert not [*tmp_path.glob(".reading-*")]


def test_run_without_intact_checkpoint_stops_and_keeps_all(tmp_path):
    config = tiny.quick({"train.num_steps": 2})
    tiny.run(config, tmp_path, small=True)
    flip_a_bit(tmp_path, 2)
    with pytest.raises(UserError, match="holds no checkpoint that is intact"):
        tiny.run(tiny.quick(), tmp_path, small=True)
    assert tiny.steps(tmp_path) == [2]


# ---------------------------------------------------------------- losses that are not finite


def not_a_number(batch):
    return batch | {"image": np.full(batch["image"].shape, np.nan, np.float32)}


def test_transient_fault_is_undone_by_restoring(whole, tmp_path, capsys):
    with disturbed(4, not_a_number):
        tiny.run(tiny.quick({"train.not_finite": "restore"}), tmp_path, small=True)
    assert re.search("continuing from step 3; train/loss is nan at step 4", capsys.readouterr().out)
    tiny.assert_identical(tiny.stored(tmp_path, 6), tiny.stored(whole, 6))


def test_fault_that_stays_stops_the_run(tmp_path):
    task = tiny.make_task(tiny.quick(), small=True)

    def loss(variables, batch, rng):
        return jnp.nan * jax.tree.leaves(variables["params"])[0].sum(), (
            variables["batch_stats"],
            {},
        )

    task.loss = loss
    with pytest.raises(UserError, match="train/loss is nan at step 2"):
        tiny.run(tiny.quick({"train.not_finite": "restore"}), tmp_path, task=task)


def test_step_that_is_not_finite_is_skipped(tmp_path):
    with disturbed(3, not_a_number):
        tiny.run(tiny.quick({"train.not_finite": "skip"}), tmp_path, small=True)
    kernels = {s: tiny.stored(tmp_path, s)["params/Dense_0/kernel"] for s in (2, 3, 4)}
    np.testing.assert_array_equal(kernels[2], kernels[3])
    assert np.abs(kernels[4] - kernels[3]).max() > 0
    assert tiny.logged(tmp_path, "train/skipped")[3] == 1


# ---------------------------------------------------------------- other machines


@pytest.mark.slow
def test_run_moves_between_numbers_of_devices(tmp_path, monkeypatch, capsys):
    """From 8 to 4, 2, 1 devices and back, parameters split; the losses are those of one device."""
    monkeypatch.setattr(sharding, "MIN_FSDP_SIZE", 64)
    changes = {"train.log_every": 1, "eval.every_steps": 100, "checkpoint.every_steps": 100}
    route, moved = (8, 4, 2, 1, 2, 4, 8), tmp_path / "moved"
    for part, devices in enumerate(route, start=1):
        mesh = {"mesh.fsdp": min(devices, 2), "train.num_steps": 2 * part}
        tiny.run(tiny.quick(changes | mesh), moved, devices=devices, small=True)
    assert capsys.readouterr().out.count("continuing from step") == len(route) - 1
    last = {"train.num_steps": 2 * len(route)}
    tiny.run(tiny.quick(changes | last), tmp_path / "one", small=True)
    found, expected = (
        list(tiny.logged(path, "train/loss").values()) for path in (moved, tmp_path / "one")
    )
    assert len(found) == 2 * len(route)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_kill_script_tells_runs_apart(whole, tmp_path, capsys):
    tiny.run(tiny.quick(), tmp_path / "same", small=True)
    assert identical(whole, tmp_path / "same", 6)
    tiny.run(tiny.quick({"optimizer.ema_decay": 0.1}), tmp_path / "other", small=True)
    capsys.readouterr()
    assert not identical(whole, tmp_path / "other", 6)
    shown = capsys.readouterr().out
    assert "ema: 7 arrays, 7 differ" in shown and "params: 5 arrays, identical" in shown
