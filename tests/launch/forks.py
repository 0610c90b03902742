"""Runs command lines of the mains, each in a fork of one process that has done the imports.

    results = run_commands({"train": ["launch.train", "--workdir=..."], ...}, folder)

They run in turn, exactly as they would from a shell but for the seconds of imports. One that
imports TensorFlow has failed: it isn't in the base install, and takes seconds. The process is
started once and serves all tests of a pytest process: `python -m tests.launch.forks` reads requests
from its stdin, one per line, and answers each with a line.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import subprocess
import sys
import traceback
import warnings
from typing import NamedTuple

import jax
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent.parent


# The CPU, the compiled programs of the tests, and no data sets.
ENVIRONMENT = {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PLATFORMS": "cpu",
    "TFDS_DATA_DIR": str(ROOT / "no_data_sets"),
}

# What the mains import, but for the modules that define flags.
_IMPORTS = (
    "common.evaluation_report",
    "common.train.trainer",
    "common.video",
    "configs.base.imagenet",
    "configs.base.dense",
    "launch.main",
    "launch.process_settings",
    "launch.tasks",
    "maxim_jax.evaluation",
    "pycocotools.mask",
    "safetensors.numpy",
    "sklearn.datasets",
    "tensorflow_datasets",
)


class Result(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@functools.cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.launch.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen) -> None:
    with server:
        server.kill()


def run_commands(
    commands: dict[str, list[str]],
    folder: pathlib.Path,
    timeout: float = 600,
    *,
    devices: int = 1,
    job: str = "",
    tensorflow: bool = False,
) -> dict[str, Result]:
    """Runs commands in turn, and returns what each left.

    Args:
      commands: by name; the first argument is a module.
      folder: for what they leave.
      timeout: in seconds, for all.
      devices: that are simulated.
      job: adds `module:Task` to the jobs that there are.
      tensorflow: may be imported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = _server()
    request = {"commands": commands, "folder": str(folder), "devices": devices, "job": job}
    request["tensorflow"] = tensorflow
    print(json.dumps(request), file=server.stdin, flush=True)
    answered = select.select([server.stdout], [], [], timeout)[0]
    if not answered or server.stdout.readline() != "done\n":
        _server.cache_clear()
        _end(server)
        raise RuntimeError(f"the commands did not end in {timeout} s: {list(commands)}")
    return {
        name: Result(
            json.loads((folder / f"{name}.status").read_text()),
            (folder / f"{name}.out").read_text(),
            (folder / f"{name}.err").read_text(),
        )
        for name in commands
    }


def _run(module: str, arguments: list[str]) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _fork(
    module: str, arguments: list[str], left: str, devices: int, job: str, tensorflow: bool
) -> int:
    """Runs one command in a fork and returns its status; output goes to `left`.out and .err."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{left}.{kind}", os.O_CREAT | os.O_WRONLY), number)
    jax.config.update("jax_num_cpu_devices", devices)
    if job:
        module_of_job, _, name = job.partition(":")
        task = getattr(importlib.import_module(module_of_job), name)
        importlib.import_module("launch.tasks").TASKS[task.kind] = task
    status = _run(module, arguments)
    if "tensorflow" in sys.modules and not tensorflow:
        print("TensorFlow was imported", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Serves the requests of stdin."""
    for name in _IMPORTS:
        importlib.import_module(name)
    Image.preinit()  # the formats of photos
    gc.set_threshold(50_000, 20, 100)  # as in tests/conftest.py
    gc.freeze()
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's: nothing runs yet
    for line in sys.stdin:
        request = json.loads(line)
        folder = pathlib.Path(request["folder"])
        for name, (module, *arguments) in request["commands"].items():
            settings = (request[key] for key in ("devices", "job", "tensorflow"))
            status = _fork(module, arguments, str(folder / name), *settings)
            (folder / f"{name}.status").write_text(json.dumps(status))
        print("done", flush=True)


if __name__ == "__main__":
    main()


def succeeded(result):
    """The result of a command that must have."""
    assert result.status == 0, result.err
    return result
