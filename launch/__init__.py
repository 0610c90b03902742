"""Thin mains: train, evaluate, predict, restore, convert, benchmark."""

import os

# TensorFlow writes events and reads checkpoints here, it computes nothing; without these it greets
# every process with lines about its CPU kernels.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
