"""Videos through PyAV: a `MediaSource` of frames in order of display."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from cosmotok.errors import MediaError

from .container import MEDIA_ERRORS, missing_bytes, opened, orientation_of, oriented, video_stream
from .convert import FrameConverter
from .index import PacketIndex, packet_index
from .info import DEFAULT_RATE, MediaInfo, RawFrame, ReadOptions

__all__ = ["VideoSource"]

_WORTH_SEEKING = 16  # frames: so few are sooner decoded than found


class VideoSource:
    """A video file. A frame whose size changes in mid-stream is scaled to the size of the first one.

    origin: the first frame's time by the file's clock, in seconds.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        self._options = options
        with opened(path) as container:
            stream = video_stream(container, path)
            options.check(path, stream.codec_context.width, stream.codec_context.height)
            self._rate = _frame_rate(stream)
            self._claimed = int(stream.frames)
            first = next(_decoded(path, container, stream), None)
            if first is None:
                raise MediaError(f"{path}: no frame of this video can be decoded; is it damaged or cut short?")
            self.origin = _time(first, stream) or Fraction(0)
            self._matrix = orientation_of(first)
            self._lines = first.height
            self._swapped = self._matrix is not None and self._matrix[0, 0] == 0
            width, height = (first.height, first.width) if self._swapped else (first.width, first.height)
            width, height = options.size or (width, height)
            self._coded_size = (height, width) if self._swapped else (width, height)
            duration = _duration(container, stream)
            self.info = MediaInfo(
                path=path,
                kind="video",
                width=width,
                height=height,
                frame_rate=self._rate,
                frame_count=self._claimed or (round(duration * self._rate) if duration else None),
                duration=duration,
                has_audio=bool(container.streams.audio),
                codec=getattr(stream.codec_context.codec, "canonical_name", stream.codec_context.name),
                pixel_format=first.format.name,
            )

    def scaled(self, size: tuple[int, int]) -> VideoSource:
        other = copy.copy(self)
        other.info = replace(self.info, width=size[0], height=size[1])
        other._coded_size = size[::-1] if self._swapped else size
        return other

    def decode(self) -> Iterator[RawFrame]:
        with opened(self._path) as container:
            stream = video_stream(container, self._path)
            yield from self._raw(_decoded(self._path, container, stream), stream, 0)

    def decode_from(self, start: int) -> Iterator[RawFrame] | None:
        """The same frames from number `start` on, decoded from the keyframe before it.

        None where that would save nothing, or might give other frames than decoding from the start of the file.
        """
        if start < _WORTH_SEEKING:
            return None
        index = self._index(until=start)
        if index is None or start >= len(index.pts) or index.keyframe_before(start) == 0:
            return None
        frames = self._jump(index, start)
        try:
            first = next(frames, None)
        except MediaError:
            return None  # from the start, it is known how many frames are good
        return None if first is None else chain([first], frames)

    def _jump(self, index: PacketIndex, start: int) -> Iterator[RawFrame]:
        with opened(self._path) as container:
            stream = video_stream(container, self._path)
            if not index.skip_to(start, container, stream):
                return
            frames = index.frames_from(start, _decoded(self._path, container, stream, start))
            if frames is not None:
                yield from self._raw(frames, stream, start)

    def times(self) -> list[Fraction]:
        """Seconds of every frame, the first one's being 0; without decoding where packets tell."""
        index = None if missing_bytes(self._path) else self._index(until=None)
        if index is None:
            return [raw.time - self.origin for raw in self.decode()]
        return [int(ticks) * index.time_base for ticks in index.pts - index.pts[0]]

    def _index(self, until: int | None) -> PacketIndex | None:
        index = packet_index(self._path, until)
        return index if index is not None and index.origin == self.origin else None

    def _raw(self, frames: Iterator[av.VideoFrame], stream: Any, count: int) -> Iterator[RawFrame]:
        """Decoded frames, the first of which has the number `count`, with rising times."""
        converter = FrameConverter(self._coded_size, self._lines)
        last: Fraction | None = None
        for frame in frames:
            self._options.check(self._path, frame.width, frame.height)
            time = _time(frame, stream)
            if last is not None and (time is None or time <= last):
                time = last + 1 / self._rate
            last = time or Fraction(0)
            yield RawFrame(last, partial(self._pixels, converter, frame, count))
            count += 1
        if missing_bytes(self._path) and not (self._claimed and count >= self._claimed):
            raise _damaged(self._path, count)

    def _pixels(self, converter: FrameConverter, frame: av.VideoFrame, index: int) -> np.ndarray:
        if frame.is_corrupt:
            raise _damaged(self._path, index)
        try:
            return oriented(converter(frame), self._matrix)
        except MEDIA_ERRORS as error:
            raise MediaError(
                f"{self._path}: frames of pixel format {frame.format.name} cannot be converted ({error})"
            ) from error


def _damaged(path: Path, count: int) -> MediaError:
    """The error for a video of which only the first `count` frames are good."""
    what = "the file is cut short" if missing_bytes(path) else f"the video is damaged at frame {count}"
    if count == 0:
        return MediaError(f"{path}: {what} and no frame can be read; make or fetch the file again")
    frames = "1 frame" if count == 1 else f"{count} frames"
    return MediaError(f"{path}: {what}; the first {frames} can be read, with frames :{count}")


def _decoded(path: Path, container: Any, stream: Any, count: int = 0) -> Iterator[av.VideoFrame]:
    """All frames of a stream; a decoder's or demuxer's error becomes a `MediaError` with the `count` so far."""
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except MEDIA_ERRORS as error:
            raise _damaged(path, count) from error
        if packet is None:
            return
        for frame in frames:
            yield frame
            count += 1


def _time(frame: av.VideoFrame, stream: Any) -> Fraction | None:
    base = frame.time_base or stream.time_base
    return None if frame.pts is None or base is None else Fraction(frame.pts * base)


def _frame_rate(stream: Any) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate:
            return Fraction(rate)
    return DEFAULT_RATE


def _duration(container: Any, stream: Any) -> Fraction | None:
    if stream.duration and stream.time_base:
        return Fraction(stream.duration * stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None
