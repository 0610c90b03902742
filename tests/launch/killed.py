"""Runs a main, and kills it (SIGKILL) once a file is there.

python -m tests.launch.killed FILE MAIN ARGUMENTS
"""

import os
import pathlib
import runpy
import signal
import sys
import threading
import time


def _watch(path: pathlib.Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_watch, args=[pathlib.Path(sys.argv[1])], daemon=True).start()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
