"""What users run: thin mains. `launch/tools` holds what the developers of this project run."""

import os
import sys
import threading
import time

# TensorFlow writes events and reads checkpoints here, it computes nothing; without these it greets
# every process with lines about its CPU kernels.
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
