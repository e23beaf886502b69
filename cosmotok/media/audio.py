"""The sound track of a written video: copied packet by packet where it fits, else encoded anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from cosmotok.errors import MediaError

from .container import ATTACHED_PICTURE, MEDIA_ERRORS, disposition_of, opened

__all__ = ["AudioTrack", "open_audio"]

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_AAC_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
_GAP = Fraction(1, 20)  # seconds: smaller jumps between timestamps are rounding, not silence


class AudioTrack(Protocol):
    """Sound written in step with the video. Times are seconds on the written video's clock."""

    def advance(self, until: Fraction) -> None:
        """Write all that ends before `until`."""

    def finish(self, end: Fraction) -> None:
        """Write the rest up to `end`, where the video ends."""

    def close(self) -> None:
        """Release the source file."""


def open_audio(
    path: Path, output: Any, *, copies: frozenset[str] | None, encoder: str, start: Fraction, early: bool
) -> AudioTrack | None:
    """The first sound track of `path`, added as a stream to `output`; None if there is none.

    copies: names of the codecs the container holds as they are (None: all that FFmpeg lets it hold).
    encoder: what to encode other codecs with. start: second of the source, counted from its first video
    frame, that falls on the written video's zero. early: whether the container can hide the part of a
    packet that comes before zero.
    """
    resources = contextlib.ExitStack()
    try:
        source = resources.enter_context(opened(path))
        if not source.streams.audio:
            resources.close()
            return None
        stream = source.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: no decoder here for this kind of sound; go on without sound")
        zero = start + _start_of(source)
        codec = getattr(stream.codec_context.codec, "canonical_name", stream.codec_context.name)
        if copies is None or codec in copies:
            with contextlib.suppress(ValueError):  # the container cannot hold it after all
                copy = output.add_stream_from_template(stream)
                return _Copied(resources, path, source, stream, copy, output, zero, early)
        return _Encoded(resources, path, source, stream, encoder, output, zero)
    except BaseException:
        resources.close()
        raise


def _start_of(container: Any) -> Fraction:
    """Seconds on the file's clock at which its pictures (or else its sound) begin."""
    films = [stream for stream in container.streams.video if not disposition_of(stream) & ATTACHED_PICTURE]
    for stream in [*films, *container.streams.audio]:
        if stream.start_time is not None:
            return Fraction(stream.start_time * stream.time_base)
    return Fraction(0)


def _packets(path: Path, source: Any, stream: Any) -> Iterator[Any]:
    packets = source.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MEDIA_ERRORS as error:
            raise _damaged(path, error) from error
        if packet is None:
            return
        yield packet


def _damaged(path: Path, error: BaseException) -> MediaError:
    return MediaError(f"{path}: the sound track is damaged or cut short ({error}); go on without sound")


class _Copied:
    """Packets as they are in the source."""

    def __init__(
        self,
        resources: contextlib.ExitStack,
        path: Path,
        source: Any,
        stream: Any,
        target: Any,
        output: Any,
        zero: Fraction,
        early: bool,
    ) -> None:
        self.close = resources.close
        self._output = output
        self._target = target
        self._timed = self._in_time(_packets(path, source, stream), zero, early)
        self._next = next(self._timed, None)

    def _in_time(self, packets: Iterator[Any], zero: Fraction, early: bool) -> Iterator[tuple[Fraction, Fraction, Any]]:
        """(start, end, packet) of those that sound after zero; their timestamps count from zero."""
        opening = True
        for packet in packets:
            if not packet.size or (packet.pts is None and packet.dts is None):
                continue
            base = Fraction(packet.time_base)
            shift = round(zero / base)
            stamp = packet.pts if packet.pts is not None else packet.dts
            start = (stamp - shift) * base
            end = start + (packet.duration or 0) * base
            # The first of all is the codec's run-up, which every container can mark as not to be heard.
            hidden = early or opening
            opening = False
            if end <= 0 or (start < 0 and not hidden):
                continue
            packet.pts = packet.dts = stamp - shift  # sound is never reordered
            yield start, end, packet

    def _write(self, packet: Any) -> None:
        packet.stream = self._target
        self._output.mux(packet)

    def advance(self, until: Fraction) -> None:
        while self._next is not None and self._next[1] <= until:
            self._write(self._next[2])
            self._next = next(self._timed, None)

    def finish(self, end: Fraction) -> None:
        self.advance(end)
        if self._next is not None and self._next[0] < end:  # shown to its end, heard to the video's end
            start, _, packet = self._next
            packet.duration = round((end - start) / Fraction(packet.time_base))
            self._write(packet)
        self._next = None


class _Encoded:
    """Samples decoded, cut to the sample, filled with silence where the source has gaps, and encoded."""

    def __init__(
        self,
        resources: contextlib.ExitStack,
        path: Path,
        source: Any,
        stream: Any,
        encoder: str,
        output: Any,
        zero: Fraction,
    ) -> None:
        self.close = resources.close
        self._output = output
        context = stream.codec_context
        rate = 48_000 if encoder == "libopus" or context.sample_rate not in _AAC_RATES else context.sample_rate
        self._rate = rate
        self._layout = _LAYOUTS.get(len(context.layout.channels), "stereo")
        self._format = "s16" if encoder == "libopus" else "fltp"
        target = output.add_stream(encoder, rate=rate)
        target.codec_context.layout = self._layout
        target.codec_context.format = self._format
        target.codec_context.bit_rate = 96_000 * max(1, len(target.codec_context.layout.channels))
        self._target = target
        self._written = 0  # samples given to the encoder
        self._blocks = self._decoded(path, _packets(path, source, stream), stream, zero)
        self._next = next(self._blocks, None)

    def _decoded(
        self, path: Path, packets: Iterator[Any], stream: Any, zero: Fraction
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first sample, samples (channels or 1, n)) from zero on, in the encoder's format."""
        resampler = av.AudioResampler(format=self._format, layout=self._layout, rate=self._rate)
        position: int | None = None
        for packet in packets:
            try:
                frames = packet.decode()
                for frame in frames:
                    if frame.pts is not None:
                        exact = (frame.pts * Fraction(frame.time_base or stream.time_base) - zero) * self._rate
                        if position is None or abs(exact - position) > _GAP * self._rate:
                            position = round(exact)
                    position = position or 0
                    frame.pts = None
                    for block in resampler.resample(frame):
                        yield position, block.to_ndarray()
                        position += block.samples
            except MEDIA_ERRORS as error:
                raise _damaged(path, error) from error

    def _encode(self, samples: np.ndarray | None) -> None:
        """Encode and write samples; None flushes the encoder."""
        frame = None
        if samples is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=self._format, layout=self._layout)
            frame.sample_rate, frame.pts = self._rate, self._written
            frame.time_base = Fraction(1, self._rate)
            self._written += frame.samples
        self._output.mux(self._target.encode(frame))

    def _place(self, position: int, samples: np.ndarray, limit: int | None = None) -> None:
        """Write a block at its place: overlap is dropped, a gap is silence, what is past `limit` is cut."""
        step = len(self._target.codec_context.layout.channels) if samples.shape[0] == 1 else 1
        stop = position + samples.shape[1] // step
        gap = min(position, limit if limit is not None else position) - self._written
        while gap > 0:
            quiet = min(gap, self._rate)
            self._encode(np.zeros((samples.shape[0], quiet * step), samples.dtype))
            gap -= quiet
        stop = min(stop, limit if limit is not None else stop)
        if stop > self._written:
            self._encode(samples[:, (self._written - position) * step : (stop - position) * step])

    def advance(self, until: Fraction) -> None:
        limit = int(until * self._rate)
        channels = len(self._target.codec_context.layout.channels)
        while self._next is not None:
            position, samples = self._next
            length = samples.shape[1] // (channels if samples.shape[0] == 1 else 1)
            if position + length > limit:
                return
            self._place(position, samples)
            self._next = next(self._blocks, None)

    def finish(self, end: Fraction) -> None:
        self.advance(end)
        if self._next is not None:
            self._place(*self._next, limit=int(end * self._rate))
            self._next = None
        self._encode(None)
