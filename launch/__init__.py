"""What users run: thin mains. `launch/tools` holds what the developers of this project run."""

import os

# TensorFlow writes events and reads checkpoints here, it computes nothing; without these it greets
# every process with lines about its CPU kernels.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# The tools are found by their earlier names too: `python -m launch.kill_and_resume`.
__path__.append(os.path.join(os.path.dirname(__file__), "tools"))
