"""What clips are made of an input: frame rate, size, segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

__all__ = ["Segment", "ShapedFrame", "Shaping"]


@dataclass(frozen=True)
class Shaping:
    """How inputs are made into clips; part of what a data set is."""

    frame_rate: float | None = None
    """Frames per second; None for the input's own."""
    size: tuple[int, int] | None = None
    """(width, height) that the picture is scaled to fill, the rest cut off at both sides; None: as it is."""
    short_side: int | None = None
    """Pixels of the shorter side, the other in proportion."""
    buckets: tuple[tuple[int, int], ...] = ()
    """(width, height) of several sizes, of which the one nearest in aspect ratio is taken."""
    segment: int | None = None
    """Frames per segment; None for whole videos, or whole scenes."""
    overlap: int = 0
    """Frames that a segment has in common with the one before."""
    scenes: bool = False
    """Whether to cut where the scene changes."""
    min_frames: int = 1
    """Shorter segments are left out; with `segment`, a rest at the end that is shorter than this."""
    min_side: int = 1
    """Inputs with a shorter side below this many pixels are left out."""


class ShapedFrame(NamedTuple):
    """A frame of a segment."""

    pixels: np.ndarray
    """(H, W, 3), uint8."""
    time: Fraction
    """Seconds from the input's first frame."""
    number: int
    """Of the input's own frame that it is, from 0."""


@dataclass(frozen=True)
class Segment:
    """A clip of an input. Its frames are to be taken, in order, before the next segment is asked for."""

    number: int
    """Among the input's segments, from 0."""
    first_frame: int
    """Number of its first frame among the input's, at the data set's frame rate."""
    frames: Iterator[ShapedFrame]
    width: int
    height: int
    """Of its frames."""
    original_width: int
    original_height: int
    frame_rate: Fraction | None
    """Per second; None for an image."""
    length: int | None
    """Frames, where that is known before they are read: 1 for images, `Shaping.segment` for a full segment."""
