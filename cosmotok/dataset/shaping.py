"""What clips are made of an input: frame rate, size, segments. `segments.cut` makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from cosmotok.errors import InputError
from cosmotok.media import parse_size
from cosmotok.media.formats import exact_rate

__all__ = ["Segment", "ShapedFrame", "Shaping"]


LARGEST = 65_536
"""Pixels of a side."""
MOST = 2**31 - 1
"""Frames: rows count them in 32 bits."""


@dataclass(frozen=True)
class Shaping:
    """How inputs are made into clips; part of what a data set is.

    Raises:
        InputError: for values that are out of range or do not go together.
    """

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

    def __post_init__(self) -> None:
        if self.frame_rate is not None:
            exact_rate(self.frame_rate)
        object.__setattr__(self, "buckets", tuple(tuple(bucket) for bucket in self.buckets))
        if self.size is not None:
            object.__setattr__(self, "size", tuple(self.size))
        for side in (self.size or (), *self.buckets):
            if len(side) not in (0, 2) or not all(_is_whole(n, 2) and n <= LARGEST and n % 2 == 0 for n in side):
                raise InputError(f"size: expected an even width and height from 2 to {LARGEST}, got {_shown(side)}")
        short = self.short_side
        if short is not None and not (_is_whole(short, 2) and short <= LARGEST and short % 2 == 0):
            raise InputError(f"short side: expected an even number of pixels from 2 to {LARGEST}, got {short!r}")
        if len(set(self.buckets)) != len(self.buckets):
            raise InputError(f"size: {', '.join(map(_shown, self.buckets))} has a size twice; name each once")
        if sum(map(bool, (self.size, self.short_side, self.buckets))) > 1:
            raise InputError("size: a fixed size, sizes to choose from, or a short side; only one of them can be had")
        for name in ("min_frames", "min_side") + (("segment",) if self.segment is not None else ()):
            if not _is_whole(value := getattr(self, name), 1) or value > MOST:
                raise InputError(f"{_words(name)}: expected a whole number from 1 to {MOST}, got {value!r}")
        if not _is_whole(self.overlap, 0):
            raise InputError(f"overlap: expected a whole number of frames from 0, got {self.overlap!r}")
        if self.segment is None:
            if self.overlap:
                raise InputError(f"overlap: {self.overlap} frames of what? give the frames of a segment as well")
            return
        if self.overlap >= self.segment:
            raise InputError(
                f"overlap: {self.overlap} frames of segments of {self.segment} leave nothing new; give fewer"
            )
        if self.min_frames > self.segment:
            raise InputError(
                f"min frames: segments have {self.segment} frames, so that {self.min_frames} would leave out all"
            )

    @classmethod
    def parse(cls, sizes: str | None = None, **options: Any) -> Shaping:
        """A shaping from text such as "256x256", or "256x256,320x192,192x320" to choose from, and all other options."""
        if sizes is None:
            return cls(**options)
        found = tuple(parse_size(each) for each in sizes.split(","))
        return cls(size=found[0], **options) if len(found) == 1 else cls(buckets=found, **options)

    @property
    def rate(self) -> Fraction | None:
        """`frame_rate`, exactly: 29.97 is 30000/1001."""
        return None if self.frame_rate is None else exact_rate(self.frame_rate)

    def sizes(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(width, height) that a picture is scaled to, and what is cut out of the middle of that."""
        if self.short_side is not None:
            factor = Fraction(self.short_side, min(width, height))
            scaled = tuple(self.short_side if n == min(width, height) else _even(n * factor) for n in (width, height))
            return scaled, scaled  # type: ignore[return-value]
        target = self.size
        if self.buckets:
            target = min(self.buckets, key=lambda bucket: _mismatch(Fraction(width, height), Fraction(*bucket)))
        if target is None:
            return (width, height), (width, height)
        factor = max(Fraction(target[0], width), Fraction(target[1], height))
        return (max(target[0], round(width * factor)), max(target[1], round(height * factor))), target


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


def _is_whole(value: object, low: int) -> bool:
    return type(value) is int and value >= low


def _shown(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


def _mismatch(ratio: Fraction, other: Fraction) -> Fraction:
    return max(ratio / other, other / ratio)
