"""Runs command lines of the mains, each in a fork of one process that has done the imports.

    python -m tests.launch.forks FOLDER JOB < commands.json

The commands are a JSON object of argument lists by name, the first argument a module as after
`python -m`. Each leaves FOLDER/<name>.json with its status, output and errors. They run in turn,
exactly as they would from a shell but for the seconds of imports.
"""

import importlib
import json
import os
import pathlib
import runpy
import subprocess
import sys
import traceback
import warnings
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent


# One CPU device, and the compiled programs of the tests.
ENVIRONMENT = {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PLATFORMS": "cpu",
}

# What the mains import, but for the modules that define flags.
_IMPORTS = (
    "launch",
    "common.train.trainer",
    "configs.base.imagenet",
    "maxim_jax.evaluation",
    "maxim_jax.tasks.restoration",
    "maxvit_jax.tasks.classification",
    "sklearn.datasets",
    "tensorflow_datasets",
)


class Result(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


def run_commands(
    commands: dict[str, list[str]], folder: pathlib.Path, timeout: float = 300, job: str = ""
) -> dict[str, Result]:
    """Runs commands in turn and returns what each left; `job` adds `module:Task` to the jobs."""
    environment = os.environ | ENVIRONMENT | {"TFDS_DATA_DIR": str(folder / "no_data_sets")}
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "tests.launch.forks", str(folder), job],
        input=json.dumps(commands),
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
        timeout=timeout,
    )
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


def main() -> None:
    """Runs the commands of stdin."""
    folder, job = pathlib.Path(sys.argv[1]), sys.argv[2]
    commands = json.load(sys.stdin)
    for name in _IMPORTS:
        importlib.import_module(name)
    if job:
        module, _, name = job.partition(":")
        task = getattr(importlib.import_module(module), name)
        importlib.import_module("launch.tasks").TASKS[task.kind] = task
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's: nothing runs yet
    for name, (module, *arguments) in commands.items():
        child = os.fork()
        if child == 0:
            for number, kind in ((1, "out"), (2, "err")):
                os.dup2(os.open(folder / f"{name}.{kind}", os.O_CREAT | os.O_WRONLY), number)
            status = _run(module, arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        (folder / f"{name}.status").write_text(json.dumps(status))


if __name__ == "__main__":
    main()
