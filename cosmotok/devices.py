"""Where tensors can be on this machine: the CPU, and its accelerators if it has any (CUDA, MPS, XPU)."""

from __future__ import annotations

import torch

from cosmotok.errors import InputError
from cosmotok.foreign import one_line

__all__ = ["devices_here", "find_device", "synchronize"]


def devices_here() -> list[str]:
    """Names of this machine's devices: "cpu", and such as "cuda:0", "cuda:1"."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator().type  # type: ignore[union-attr]
    return ["cpu", *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]


def find_device(name: str | torch.device, argument: str = "device=") -> torch.device:
    """The device called `name`, such as "cpu", "cuda", "cuda:1" or "mps".

    Args:
        argument: as what the user gave it, for messages.

    Raises:
        InputError: where this machine has none of that name; it says which it has.
    """
    here = devices_here()
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or f"{device.type}:{device.index or 0}" not in [*here, "cpu:0"]:
        others = " or ".join(argument + other for other in here)
        raise InputError(f"{argument}{one_line(name)}: not on this machine; expected {others}")
    return device


def synchronize(device: torch.device) -> None:
    """Waits until `device` has done what it was asked for; the CPU always has."""
    if any(name.startswith(device.type) for name in devices_here()[1:]):
        torch.accelerator.synchronize(device)
