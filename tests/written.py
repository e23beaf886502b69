"""What the tests of writing share."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from cosmotok.media import VideoWriter


def write(path: Path, frames: list[np.ndarray], rate: Fraction | float = 10, **options: object) -> VideoWriter:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width=width, height=height, frame_rate=rate, **options) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.write(frame)
    return writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
