"""Several processes agree on where to stop: real ones, which do nothing but ask."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import hashlib, os, random, signal, sys, threading, time
    import jax
    import numpy as np
    from jax.experimental import multihost_utils
    from common.train.stop import StopRequest, leave_when_asked

    port, index, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    jax.distributed.initialize(f"localhost:{port}", 3, index)
    rng = random.Random(index)

    def ask(questions, signal_at=None):
        with StopRequest() as stop:
            stop.listen()
            for question in range(1, questions + 1):
                time.sleep(rng.uniform(0, 0.01 * (index + 1)))  # some are ahead of others
                if index == 1 and question == signal_at:
                    os.kill(os.getpid(), signal.SIGINT)
                if stop.reached():
                    return print(f"stopped by {stop.signal.name} at {question}", flush=True)
            print("done", flush=True)

    if how == "ask":
        ask(10)
        ask(10**6, signal_at=20)
        ask(30, signal_at=30)  # the first one is done by then, and isn't waited for
    else:
        with leave_when_asked(), StopRequest():
            threading.Timer(1, print, ["nothing to save"], {"flush": True}).start()
            if how == "wait" and index != 1:  # which fails when another has left
                multihost_utils.process_allgather(np.int32(0))
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # signals don't interrupt it
    jax.distributed.shutdown()
"""


@pytest.fixture
def start():
    """A function that starts the three processes; those left are killed in the end."""
    processes = []

    def start(how):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        for index in range(3):
            command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(port), str(index), how]
            environment = os.environ | {"JAX_PLATFORMS": "cpu"}
            processes.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            )
        return processes

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ready(processes):
    for process in processes:
        assert any(line == "nothing to save\n" for line in process.stdout)
    return processes


def test_all_stop_at_the_same_question(start):
    """Over several runs of one process, and with one of them at its end."""
    processes = start("ask")
    shown = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert shown[0] == shown[1] == shown[2]
    first, second, third = shown[0]
    assert (first, third) == ("done", "done") and second.startswith("stopped by SIGINT at ")
    assert int(second.split()[-1]) > 20


@pytest.mark.parametrize("how", ["hash", "wait"])
def test_all_leave_when_none_has_anything_to_save(start, how):
    processes = ready(start(how))
    processes[2].send_signal(signal.SIGTERM)
    shown = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    said = "stopped by SIGTERM, with nothing to save: the same command goes on\n"
    assert shown == [said, "", ""]


def test_second_signal_ends_a_process_though_another_does_not_answer(start):
    processes = ready(start("hash"))
    processes[0].send_signal(signal.SIGSTOP)
    processes[1].send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        processes[1].wait(timeout=1)
    processes[1].send_signal(signal.SIGTERM)
    assert processes[1].wait(timeout=30) == 128 + signal.SIGTERM
