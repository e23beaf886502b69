"""Memory of this process: how much it took at most, and that it takes no more than there is."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

import torch

__all__ = ["PeakMemory", "free_memory", "give_back", "limit_memory"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KIB = 1024


class PeakMemory:
    """The most that was in use beyond what there was when this object was made, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = self._in_use()
        self.restart()

    def restart(self) -> None:
        """Forgets the peak so far, where the system can; what counts stays what was in use at first."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif RESET.exists():
            RESET.write_text("5")

    def read(self) -> int | None:
        """None where the system does not tell."""
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else resident("VmHWM")
        return None if peak is None or self.before is None else max(0, peak - self.before)

    def _in_use(self) -> int | None:
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else resident("VmRSS")


def give_back() -> None:
    """Returns memory that was freed to the system, so that what is in use is what is needed."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # where the C library is another one
        ctypes.CDLL(None).malloc_trim(0)


def resident(field: str) -> int | None:
    """Bytes of physical memory, now ("VmRSS") or at most ("VmHWM"). Where there is no /proc, the most in both cases."""
    if STATUS.exists():
        return status(field)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)


def status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * KIB


def limit_memory() -> None:
    """Lets this process take no more than is free now: then an allocation fails, and the system kills nobody."""
    free = free_memory()
    if free is None:
        return
    import resource

    limit = status("VmSize") + free
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def free_memory() -> int | None:
    """Bytes that this machine can still give, on Linux; None elsewhere."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    line = next((line for line in table.read_text().splitlines() if line.startswith("MemAvailable:")), None)
    return None if line is None else int(line.split()[1]) * KIB
