"""Trains a model: `python -m launch.train --config=configs/maxvit_digits.py --workdir=runs/digits`.

Every field of the config can be overridden, e.g. `--config.optimizer.learning_rate=1e-4`. Starting
on a run directory that is there continues its run.

On several hosts the same command runs once per process. `--distributed` asks the cluster (SLURM,
TPU pods, Open MPI) who they are; elsewhere `--coordinator=host:port --num_processes=2
--process_id=0` says so.
"""

import gc
import socket
import time

import jax
from absl import flags
from ml_collections import config_flags

from common.config import require
from common.errors import UserError
from common.news import announced
from common.report import result_lines
from common.train import train
from common.train.processes import failing_together, is_of_another
from common.train.stop import leave_when_asked
from launch.main import compilation_cache, fail, load_config, overrides, run_main
from launch.process_settings import has_cpu_alone, keep_freed_memory
from launch.tasks import make_task

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with `:k=v,k=v` arguments.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes of a cluster.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which, from 0.")
_KEEP = flags.DEFINE_bool(
    "keep_freed_memory", True, "Steps on a CPU use the same memory again, on Linux with glibc."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory; a bucket path where supported.")


def main(argv: list[str]) -> None:
    """Trains what the flags say."""
    del argv
    # A step's buffers are those of the step before.
    kept = _KEEP.value and has_cpu_alone() and keep_freed_memory()
    _connect()
    try:
        with leave_when_asked():
            results = _train(kept)
            if jax.process_index() == 0:
                for line in result_lines(results):
                    print(line)
                print("metrics, TensorBoard events, samples and checkpoints are in", _WORKDIR.value)
            jax.distributed.shutdown()
    except Exception as error:
        if not is_of_another(error):
            raise
        reason = str(error).splitlines()[0]
        if jax.process_index() == 0:
            time.sleep(5)  # JAX's coordinator goes last: who loses it ends with a stack dump
        fail(
            f"process {jax.process_index()} can't go on, as another one ended: {reason};"
            " the same command in all processes goes on from the last checkpoint"
        )


def _train(kept: bool) -> dict[str, float]:
    compilation_cache()
    config = load_config(_CONFIG)
    asked = overrides(_CONFIG)
    both = {"train.num_steps", "train.num_epochs"} <= asked.keys()
    require(not both, "--config.train.num_steps and num_epochs: give one of them")
    with failing_together(), announced("looking at the data", "looked at it"):
        task = make_task(config)
    if kept and jax.process_index() == 0:
        print(
            "freed memory is kept for the next step: --nokeep_freed_memory returns it", flush=True
        )
    gc.freeze()  # walking what imports made takes a twentieth of a small model's step
    return train(task, config, _WORKDIR.value)


def _connect() -> None:
    """Meets the other processes before anything touches a device."""
    address, count, index = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    if address is None:
        alone = count is None and index is None
        require(alone, "--num_processes and --process_id need --coordinator=host:port")
        if not _DISTRIBUTED.value:
            return
    else:
        given = count is not None and index is not None and 0 <= index < count
        require(given, "--coordinator needs --num_processes=n and --process_id from 0 to n - 1")
        _check_address(address)
        waiting = f"process {index} of {count}: waiting up to 5 minutes for all at {address}"
        print(waiting, flush=True)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(address, count, index, initialization_timeout=300)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"can't meet the other processes: {reason}") from error


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    require(
        host and port.isdecimal() and 0 < int(port) < 2**16,
        f"--coordinator={address} is not host:port with a port from 1 to 65535",
    )
    try:
        socket.getaddrinfo(host.strip("[]"), port)
    except OSError as error:
        raise UserError(f"--coordinator={address}: can't find {host}: {error.strerror}") from error


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_main(main)
