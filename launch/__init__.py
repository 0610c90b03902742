"""What users run: thin mains. `launch/tools` holds what the developers of this project run."""

import os
import sys
import threading
import time

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# `python -m launch.train` looks into the current directory first: what is called `common` or
# `configs` there must not hide ours. While it looks for the module, `-m` stands for its name.
if sys.argv[:1] == ["-m"] and sys.path[0] == os.getcwd() != _HOME:
    sys.path[:] = dict.fromkeys([*sys.path[1:], _HOME, sys.path[0]])

# TensorFlow reads and writes checkpoints here, it computes nothing; without these it greets with
# lines about its CPU kernels.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# The tools are found by their earlier names too: `python -m launch.kill_and_resume`.
__path__.append(os.path.join(os.path.dirname(__file__), "tools"))


def _say_that_it_loads() -> None:
    time.sleep(2)
    while not hasattr(sys.modules["__main__"], "main"):  # which stands below its imports
        print("loading JAX and Flax", file=sys.stderr, flush=True)
        time.sleep(10)


# Imports take seconds, from a slow disk many. While Python looks for the module that `-m` names,
# argv begins with that.
if sys.argv[:1] == ["-m"]:
    threading.Thread(target=_say_that_it_loads, daemon=True).start()
