"""What a user says about an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cosmotok.devices import find_device
from cosmotok.errors import InputError
from cosmotok.evaluation.measure import JudgeOptions
from cosmotok.evaluation.protocols import DEFAULT, Protocol
from cosmotok.processes import device_name

__all__ = ["Options"]

MOST_JOBS = 8
"""Files that are measured at a time unless a user says more."""


@dataclass(frozen=True)
class Options:
    """How files are measured, and where results go.

    Raises:
        InputError: for numbers out of range, or a device that is not here.
    """

    protocol: Protocol = DEFAULT
    """How figures are taken; see `protocols.PROTOCOLS`."""
    judges: JudgeOptions = field(default_factory=JudgeOptions)
    """Which metrics, and where their networks are; by default those that need no download."""
    folder: Path | None = None
    """Where rows and example pictures go, file by file; nothing is written without one."""
    frames: slice | int | None = None
    """Of each clip: a slice, or so many from its start; None: all."""
    size: tuple[int, int] | None = None
    """(width, height) that originals are scaled to; None: as they are."""
    device: str = "cpu"
    """Of networks: "cpu", "cuda" and so on."""
    jobs: int | None = None
    """Files at a time, each in a process of its own; 1: in this process. By default one on a GPU, else one for every
    core, 8 at most. Figures do not depend on it."""
    resume: bool = False
    """Goes on with what `folder` holds: finished files are not measured again."""

    def __post_init__(self) -> None:
        if isinstance(self.frames, int) and self.frames < 1:
            raise InputError(f"frames={self.frames}: expected at least 1, or None for all")
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs={self.jobs}: expected at least 1")
        find_device(self.device)

    @property
    def span(self) -> slice:
        """Of frames."""
        return self.frames if isinstance(self.frames, slice) else slice(self.frames)

    @property
    def on_cpu(self) -> bool:
        return torch.device(self.device).type == "cpu"

    @property
    def overlapping(self) -> bool:
        """Whether threads read ahead and measure behind. On the CPU they would compete with the contestant, whose time
        is taken; there, files overlap in several processes."""
        return not self.on_cpu

    @property
    def processes(self) -> int:
        """`jobs`, or what it is by default."""
        return self.jobs or (min(cores(), MOST_JOBS) if self.on_cpu else 1)

    @property
    def threads(self) -> int:
        """Of PyTorch, for each file."""
        return torch.get_num_threads() if self.processes == 1 else max(1, cores() // self.processes)

    @property
    def machine(self) -> str:
        """Where and how speeds are measured, in words."""
        threads, several = self.threads, self.processes > 1
        count = f"{self.processes} files at a time, " if several else ""
        count += f"{threads} thread{'s' if threads > 1 else ''}{' each' if several else ''}"
        where = device_name(self.device)
        return f"{f'{where}, {count}' if self.on_cpu else where}, PyTorch {torch.__version__}"

    def settings(self, left_out: Iterable[str]) -> dict[str, Any]:
        """What must be the same for figures to go together."""
        files = (self.judges.lpips_weights, self.judges.inception_weights, self.judges.i3d_weights)
        return {
            "protocol": self.protocol.name,
            "frames": f"{self.span.start or 0}:{'' if self.span.stop is None else self.span.stop}",
            "size": "x".join(map(str, self.size)) if self.size else "as they are",
            "metrics": ",".join(sorted(self.judges.wanted)) or "all at hand",
            "metrics left out": ",".join(sorted(left_out)) or "none",
            "weights of metrics": ",".join(Path(file).name for file in files if file) or "usual",
        }


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
