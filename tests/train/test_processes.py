"""Several processes that train together, on one machine: each with two simulated devices."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import jax
import numpy as np
import pytest
from etils import epath

from common.train.manifest import find_damage
from configs import maxvit_digits
from maxvit_jax.tasks.classification import ClassificationTask
from tests.train import batch_parts, tiny

STEPS = 20
CONFIG = {
    "model.widths": (32,),
    "model.depths": (1,),
    "model.stem_widths": (4, 8),
    "data.batch_size": 8,
    "data.eval_batch_size": 60,
    "data.image_size": 16,
    "schedule.warmup_steps": 2,
    "schedule.decay_steps": 1000,
    "train.num_steps": STEPS,
    "train.log_every": 1,
    "eval.every_steps": STEPS,
    "checkpoint.every_steps": 100,
}


def environment_of_process(devices):
    """The environment of a process with a few simulated devices."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
    }


def start(workdir, processes=2, overrides=None, second=()):
    """Starts the command of every process; the second one may have arguments of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = environment_of_process(devices=2)
    command = [sys.executable, "-m", "launch.train", "--config=configs/maxvit_digits.py"]
    command += [f"--config.{name}={value}" for name, value in (CONFIG | (overrides or {})).items()]
    command += [f"--workdir={workdir}", f"--coordinator=localhost:{port}"]
    command += [f"--num_processes={processes}"]
    return [
        subprocess.Popen(
            [*command, f"--process_id={i}", *(second if i == 1 else ())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for i in range(processes)
    ]


def test_processes_hold_their_parts_of_a_batch(tmp_path):
    """On meshes with fewer parts than processes, or with one that two processes share: what each
    holds makes the global batch, and a run is that of one process with as many devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = environment_of_process(devices=3)
    command = [sys.executable, "-m", "tests.train.batch_parts", str(port), str(tmp_path / "two")]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(i)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=environment,
                )
            )
            for i in range(2)
        ]
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    batch_parts.run(tmp_path / "one", devices=6)
    for metric in ("train/loss", "eval/loss", "eval/accuracy_top1", "eval/examples"):
        found, expected = (tiny.logged(tmp_path / name, metric) for name in ("two", "one"))
        assert found.keys() == expected.keys() != set()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-5)


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(tmp_path):
    """SIGTERM to one process stops both at the same step; continued, the losses and the evaluation
    are those of one process with four devices."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    with ExitStack() as stack:
        first, second = (stack.enter_context(process) for process in start(together))
        shown = ""
        for line in first.stdout:
            shown += line
            if re.match(r"step [5-9]/", line) and second.poll() is None:
                second.send_signal(signal.SIGTERM)
                break
        shown += first.communicate(timeout=120)[0]
        other = second.communicate(timeout=120)[0]
    assert (first.returncode, second.returncode) == (0, 0), shown + other
    stopped = int(re.search(r"stopped by SIGTERM after step (\d+)", shown)[1])
    assert 5 <= stopped < STEPS and tiny.steps(together) == [stopped]
    assert find_damage(epath.Path(together / "checkpoints" / str(stopped))) is None
    assert not re.search(r"^step ", other, re.MULTILINE)  # one process speaks for both

    with ExitStack() as stack:
        processes = [stack.enter_context(process) for process in start(together)]
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert f"continuing from step {stopped}" in outputs[0]

    config = maxvit_digits.get_config()
    config.update_from_flattened_dict(CONFIG)
    results = tiny.run(config, alone, task=ClassificationTask(config), devices=4)
    losses = [tiny.logged(workdir, "train/loss") for workdir in (together, alone)]
    assert list(losses[0]) == list(losses[1]) == list(range(1, STEPS + 1))
    np.testing.assert_allclose(list(losses[0].values()), list(losses[1].values()), rtol=1e-4)
    evaluated = tiny.metrics(together)[-1]
    assert evaluated["eval/examples"] == results["eval/examples"] == 359
    np.testing.assert_allclose(evaluated["eval/loss"], results["eval/loss"], rtol=1e-3)


@pytest.mark.slow
def test_two_processes_stop_within_an_evaluation_and_before_a_step(tmp_path):
    """A signal to one process cuts the evaluation short in both, and both save the same step.
    Started again, a signal before the first step ends both at once."""
    overrides = {"eval.every_steps": 4, "data.eval_batch_size": 4}
    with ExitStack() as stack:
        first, second = (stack.enter_context(p) for p in start(tmp_path, overrides=overrides))
        shown = ""
        for line in first.stdout:
            shown += line
            if line.startswith("step 4/"):  # the metrics of the step; its evaluation comes next
                second.send_signal(signal.SIGTERM)
                break
        shown += first.communicate(timeout=120)[0]
        other = second.communicate(timeout=120)[0]
    assert (first.returncode, second.returncode) == (0, 0), shown + other
    assert "stopped by SIGTERM after step 4" in shown and tiny.steps(tmp_path) == [4]
    assert not tiny.logged(tmp_path, "eval/loss")

    with ExitStack() as stack:
        first, second = (stack.enter_context(p) for p in start(tmp_path, overrides=overrides))
        shown = ""
        for line in first.stdout:
            shown += line
            if "continuing from step 4" in line:
                second.send_signal(signal.SIGINT)
                break
        shown += first.communicate(timeout=120)[0]
        other = second.communicate(timeout=120)[0]
    assert (first.returncode, second.returncode) == (0, 0), shown + other
    assert "stopped by SIGINT, with nothing to save" in shown and tiny.steps(tmp_path) == [4]


@pytest.mark.slow
def test_processes_with_different_commands_are_refused(tmp_path):
    with ExitStack() as stack:
        other = ["--config.optimizer.learning_rate=0.5"]
        processes = [stack.enter_context(process) for process in start(tmp_path, second=other)]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    for output in outputs:
        line = output.splitlines()[-1]
        assert re.match(
            r"error: config.optimizer.learning_rate is .* in process 0 and 0.5 in", line
        )
    assert not any(tmp_path.iterdir())
