"""Settings of the whole test suite: few threads, and the same examples in every run."""

import os
import signal

# Threads that wait must not spin: where something else keeps a core busy, tests would take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Commands that tests run speak English, whatever the locale.
os.environ["LANGUAGE"] = "en"

# A shell ignores Ctrl-C for what it starts in the background, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch
from hypothesis import settings

from cosmotok.errors import InputError
from cosmotok.kernels import attention, float32
from cosmotok.kernels.int8 import require_int8

# The networks here are so small that more threads make them slower, and bits are compared between processes.
torch.set_num_threads(1)

settings.register_profile("cosmotok", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("cosmotok")


@pytest.fixture(scope="module", params=["plain", "fast"])
def every_kernel(request):
    """Runs tests twice: with PyTorch's operators alone, and with the kernels that wide layers have in all layers."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(float32, "suits", lambda x, weight: False)
            patch.setattr(attention, "suits", lambda x: False)
        else:
            patch.setattr(float32, "CHANNELS", 0)
            patch.setattr(attention, "CHANNELS", 0)
            patch.setattr(attention, "SHORTEST", 0)
        yield


@pytest.fixture(scope="session")
def int8_at_hand():
    """Skips where the processor or PyTorch cannot compute in 8-bit integers."""
    try:
        require_int8()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def ordinary_scheduling():
    """No test may leave this process a real-time one, as an encoder once did: threads of later tests stood still."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
