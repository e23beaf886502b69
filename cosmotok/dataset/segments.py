"""From the frames of an input to its segments, as `Shaping` says; never more than one segment in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice

import numpy as np

from cosmotok.dataset.scenes import SceneCuts
from cosmotok.dataset.shaping import Segment, ShapedFrame, Shaping
from cosmotok.dataset.sources.base import Opened
from cosmotok.defaults import MAX_PIXELS
from cosmotok.media import Frame, MediaReader, open_media

__all__ = ["cut", "resampled", "segments"]

LATE = Fraction(1, 1000)
"""Seconds that a frame may come after its time: some containers have clocks of milliseconds."""


@contextlib.contextmanager
def cut(opened: Opened, shaping: Shaping, *, max_pixels: int = MAX_PIXELS) -> Iterator[Iterator[Segment]]:
    """The segments of an input, none where it is too small or too short; its file is open as long as the block lasts.

    ``with source.open(key, address) as opened, cut(opened, shaping) as segments: for segment in segments: ...``

    Raises:
        MediaError: where the file cannot be read; also while frames are taken, where it turns out to be damaged.
    """
    with contextlib.ExitStack() as readers:
        reader = readers.enter_context(open_media(opened.path, frames=opened.frames, max_pixels=max_pixels))
        yield segments(reader, shaping, readers)


def segments(reader: MediaReader, shaping: Shaping, readers: contextlib.ExitStack) -> Iterator[Segment]:
    """The segments of what `reader` delivers; further readers are closed with `readers`."""
    info = reader.info
    if min(info.width, info.height) < shaping.min_side:
        return
    scaled, (width, height) = shaping.sizes(info.width, info.height)
    if scaled != (info.width, info.height):
        reader = readers.enter_context(reader.scaled(scaled))
    still = info.kind == "image"
    frames: Iterator[ShapedFrame] = (
        ShapedFrame(frame.pixels, frame.time, number) for number, frame in enumerate(_cropped(reader, width, height))
    )
    rate = None if still else shaping.rate or info.frame_rate
    if not still and shaping.rate is not None:
        frames = resampled(frames, shaping.rate)
    clips: Iterable[Iterator[tuple[int, ShapedFrame]]] = [enumerate(frames)]
    if shaping.scenes and not still:
        clips = scenes(frames, SceneCuts(rate or Fraction(24)))
    number = 0
    for clip in clips:
        for first, length, pieces in _pieces(clip, shaping):
            yield Segment(number, first, pieces, width, height, info.width, info.height, rate, 1 if still else length)
            number += 1
            _finish(pieces)
        _finish(clip)


def resampled(frames: Iterable[ShapedFrame], rate: Fraction) -> Iterator[ShapedFrame]:
    """Frames at `rate` per second, each the last one at or before its time; none after the time of the last."""
    count = 0
    late = min(LATE, 1 / (4 * rate))
    shown: ShapedFrame | None = None
    for frame in frames:
        while shown is not None and count / rate + late < frame.time:
            yield shown._replace(time=count / rate)
            count += 1
        shown = frame
    while shown is not None and count / rate <= shown.time + late:
        yield shown._replace(time=count / rate)
        count += 1


def scenes(
    frames: Iterator[ShapedFrame], is_cut: Callable[[np.ndarray], bool]
) -> Iterator[Iterator[tuple[int, ShapedFrame]]]:
    """Scenes, each as its numbered frames, to be taken before the next scene."""
    numbered = enumerate(frames)
    # The first frame of the scene to come, as soon as it is known.
    coming = list(islice(numbered, 1))
    if coming:
        is_cut(coming[0][1].pixels)

    def scene() -> Iterator[tuple[int, ShapedFrame]]:
        yield coming.pop()
        for each in numbered:
            if is_cut(each[1].pixels):
                coming.append(each)
                return
            yield each

    while coming:
        yield scene()


def _pieces(
    clip: Iterator[tuple[int, ShapedFrame]], shaping: Shaping
) -> Iterator[tuple[int, int | None, Iterator[ShapedFrame]]]:
    """(first frame, length if known, frames) of what a scene or a whole video is cut into."""
    if shaping.segment is None:
        start = list(islice(clip, shaping.min_frames))
        if start and len(start) == shaping.min_frames:
            yield start[0][0], None, _onwards(start, clip)
        return
    kept: list[tuple[int, ShapedFrame]] = []
    while new := list(islice(clip, shaping.segment - len(kept))):
        kept += new
        if len(kept) >= shaping.min_frames:
            yield kept[0][0], len(kept), iter([frame for _, frame in kept])
        if len(kept) < shaping.segment:
            return
        kept = kept[shaping.segment - shaping.overlap :]


def _onwards(start: list[tuple[int, ShapedFrame]], rest: Iterator[tuple[int, ShapedFrame]]) -> Iterator[ShapedFrame]:
    """The frames of both; each of `start` is let go of as it passes."""
    start.reverse()
    while start:
        yield start.pop()[1]
    for _, frame in rest:
        yield frame


def _cropped(frames: Iterable[Frame], width: int, height: int) -> Iterator[Frame]:
    for frame in frames:
        rows, columns = frame.pixels.shape[:2]
        if (columns, rows) == (width, height):
            yield frame
        else:
            top, left = (rows - height) // 2, (columns - width) // 2
            inside = frame.pixels[top : top + height, left : left + width]
            yield frame._replace(pixels=np.ascontiguousarray(inside))


def _finish(frames: Iterator[object]) -> None:
    """Takes what its user left."""
    for _ in frames:
        pass
