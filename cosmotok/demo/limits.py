"""How much one visitor may ask of the machine that serves the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What visitors' files are cut to."""

    frames: int = 120
    """At most so many of a video, from its beginning."""
    pixels: int = 512 * 512
    """Frames of more are scaled down."""
    upload: int = 100
    """Of one file, in megabytes."""
    waiting: int = 20
    """Visitors in the queue; whoever comes then is told to try again."""

    def size(self, width: int, height: int, short_side: int) -> tuple[int, int]:
        """(width, height) that a frame is scaled to: never up, `short_side` at most on its shorter side, and within
        `pixels`; the proportions stay."""
        scale = min(1, short_side / min(width, height), math.sqrt(self.pixels / (width * height)))
        return max(1, int(width * scale + 1e-9)), max(1, int(height * scale + 1e-9))
