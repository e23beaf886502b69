"""Settings of the whole test suite: few threads, and the same examples in every run."""

import os

# Threads that wait must not spin: where something else keeps a core busy, tests would take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from hypothesis import settings

# The networks here are so small that more threads make them slower, and bits are compared between processes.
torch.set_num_threads(1)

settings.register_profile("cosmotok", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("cosmotok")
