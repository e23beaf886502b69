"""What a media file is and what is read from it: `MediaInfo`, `Frame`, slices and sizes as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from cosmotok.errors import InputError, MediaError

__all__ = ["Frame", "MediaInfo", "parse_frames", "parse_size"]

DEFAULT_RATE = Fraction(24)
"""Frames per second of a folder of images, and of a video that does not say."""


class Frame(NamedTuple):
    """One delivered frame.

    pixels: uint8 (H, W, 3), RGB, 0..255, C-contiguous, the caller's own copy.
    time: seconds since the first delivered frame, whose time is 0; strictly increasing.
    """

    pixels: np.ndarray
    time: Fraction


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of a file before it is read through.

    path: the file, folder or pattern. kind: "image" or "video" (animated pictures are videos).
    width, height: pixels as delivered, after rotation, EXIF orientation and `size`.
    frame_rate: average frames per second; None for a still.
    frame_count: frames to come as far as the container tells (after slicing); a hint, may be wrong.
    duration: seconds; a hint. has_audio: whether there is a sound track.
    codec, pixel_format: as FFmpeg names them ("h264", "yuv420p"); of pictures, as Pillow ("png", "RGB").
    """

    path: Path
    kind: Literal["image", "video"]
    width: int
    height: int
    frame_rate: Fraction | None
    frame_count: int | None
    duration: Fraction | None
    has_audio: bool
    codec: str
    pixel_format: str


class RawFrame(NamedTuple):
    """A decoded frame, not yet converted: `time` in seconds by the file's clock, `pixels()` as in `Frame`."""

    time: Fraction
    pixels: Callable[[], np.ndarray]


class MediaSource(Protocol):
    """One way of reading files: `info` of the whole file, and `decode()`, all its frames from the start."""

    info: MediaInfo

    def decode(self) -> Iterator[RawFrame]:
        """Every frame in order of display; conversion to RGB happens only for those asked for."""

    def scaled(self, size: tuple[int, int]) -> MediaSource:
        """The same frames, as (width, height); the file is not read again."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How every source reads: the size to deliver (width, height), and the most pixels a frame may have."""

    size: tuple[int, int] | None
    max_pixels: int

    def check(self, path: Path, width: int, height: int) -> None:
        """Raise `MediaError` for a frame of more than `max_pixels`, before memory is spent on it."""
        if width * height > self.max_pixels:
            raise MediaError(
                f"{path}: frames of {width}x{height} have more than {self.max_pixels:,} pixels; "
                f"raise the limit (--max-pixels {width * height}) if the file is meant to be that large"
            )


_FRAMES = re.compile(r"\s*([0-9]{0,18})\s*:\s*([0-9]{0,18})\s*", re.ASCII)
_SIZE = re.compile(r"\s*([0-9]{1,9})\s*[xX]\s*([0-9]{1,9})\s*", re.ASCII)


def parse_frames(text: str) -> slice:
    """A slice of frame numbers from text: ``"10:50"``, ``":30"``, ``"5:"``, ``":"``; else `InputError`."""
    match = _FRAMES.fullmatch(text)
    if match is None:
        raise InputError(f"frames {text!r}: expected START:STOP such as 10:50, :30 or 5: (numbers from 0)")
    start, stop = (int(part) if part else None for part in match.groups())
    if stop is not None and stop <= (start or 0):
        raise InputError(f"frames {text!r}: STOP must be above START, for it is the first frame left out")
    return slice(start, stop)


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from text such as ``"640x360"``; else `InputError`."""
    match = _SIZE.fullmatch(text)
    if match is None or not all(int(part) for part in match.groups()):
        raise InputError(f"size {text!r}: expected WIDTHxHEIGHT in pixels such as 640x360")
    return int(match[1]), int(match[2])


def check_frames(frames: slice) -> tuple[int, int | None]:
    """(start, stop) of a slice of frame numbers; `InputError` unless non-negative with step 1."""
    if not isinstance(frames, slice):
        raise InputError(f"frames: expected a slice such as slice(10, 50), got {frames!r}")
    for value in (frames.start, frames.stop):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise InputError(f"frames: start and stop must be whole numbers from 0 or None, got {frames!r}")
    if frames.step not in (None, 1):
        raise InputError(f"frames: only step 1 is possible, got {frames!r}")
    return frames.start or 0, frames.stop


def check_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """`size` as (width, height); `InputError` unless two positive whole numbers or None."""
    if size is None:
        return None
    try:
        width, height = size
    except (TypeError, ValueError):
        raise InputError(f"size: expected (width, height), got {size!r}") from None
    for value in (width, height):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"size: width and height must be whole numbers from 1, got {size!r}")
    return int(width), int(height)
