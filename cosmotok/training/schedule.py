"""How the learning rates rise and fall over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cosmotok.errors import ConfigError

__all__ = ["ScheduleOptions"]


@dataclass(frozen=True)
class ScheduleOptions:
    """A straight rise, then the full rate, then a fall; by default as published: a rise alone.

    Raises:
        ConfigError: where values make no sense.
    """

    shape: Literal["constant", "linear", "cosine"] = "constant"
    """Of the fall."""
    warmup_steps: int = 5000
    decay_from: float = 0.0
    """Share of the run after which the rates fall."""
    final: float = 0.0
    """What they fall to, as a share of the full rates."""

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"schedule.warmup_steps={self.warmup_steps}: expected 0 or more")
        if not 0 <= self.decay_from < 1 or not 0 <= self.final <= 1:
            raise ConfigError(
                f"schedule.decay_from={self.decay_from}, schedule.final={self.final}: expected 0 or more and below 1, "
                "and 0 to 1"
            )

    def factor(self, step: int, share: float) -> float:
        """Of the learning rates at `step`, counted from 0, when `share` of the run is done; above 0 up to 1."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.shape == "constant" or share <= self.decay_from:
            return warm
        fallen = min(1.0, (share - self.decay_from) / (1 - self.decay_from))
        left = 1 - fallen if self.shape == "linear" else (1 + math.cos(math.pi * fallen)) / 2
        return warm * (self.final + (1 - self.final) * left)
