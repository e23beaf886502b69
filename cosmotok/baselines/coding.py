"""Clips through a video codec in memory: to packets and back, at a constant quality or within a rate."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np

from cosmotok.errors import MissingExtraError
from cosmotok.media.convert import BT709, LIMITED, FrameConverter, FrameMaker

from .encoders import CodecEncoder, is_there
from .rates import Setting, largest_within

__all__ = ["Coder", "Job", "coder_for"]

TRIES = 7
"""Encodings of a clip at most, to match a rate."""

ENOUGH = 0.98
"""Part of the rate that is not improved on."""

SMALLEST = 64
"""Pixels; smaller frames are filled up, for not every encoder takes them."""

NOBODY = 65534
"""User number that owns nothing."""

_START = re.compile(rb"\x00?\x00\x00\x01")
_H264_SEI = 6


@dataclass(frozen=True)
class Job:
    """A clip to code."""

    encoder: CodecEncoder
    setting: Setting
    height: int
    width: int
    frame_rate: float | None

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return max(Fraction(self.frame_rate or 24).limit_denominator(1001), Fraction(1, 1001))

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height of the frames that are encoded: even, and not too small."""
        width, height = (max(SMALLEST, size + size % 2) for size in (self.width, self.height))
        return width, height


class EncoderStream:
    """Frames in order of display to packets, each as its bytes."""

    def __init__(self, job: Job, crf: float) -> None:
        encoder = job.encoder
        context: Any = av.CodecContext.create(encoder.name, "w")
        context.width, context.height = job.coded_size
        context.pix_fmt = "yuv420p"
        context.framerate, context.time_base = job.rate, 1 / job.rate
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        context.thread_count = 1
        context.options = {**encoder.options, "crf": f"{crf:g}"}
        with unprivileged():
            context.open()
        self._context = context
        self._signs = encoder.codec == "h264"

    def __call__(self, frame: Any) -> list[bytes]:
        """What is ready after this frame; None for a frame ends the stream."""
        packets = [bytes(packet) for packet in self._context.encode(frame)]
        return [without_sei(packet) for packet in packets] if self._signs else packets


class DecoderStream:
    """Packets to the pixels of frames in order of display."""

    def __init__(self, job: Job) -> None:
        name = next((name for name in job.encoder.decoders if is_there(name, "r")), None)
        if name is None:
            wanted = " nor ".join(job.encoder.decoders)
            raise MissingExtraError(f"{job.encoder.codec}: this PyAV cannot decode it: it has not {wanted}")
        self._context: Any = av.CodecContext.create(name, "r")
        self._context.thread_count = 1
        size = job.coded_size
        self._pixels = FrameConverter(size, size[1])
        self._height, self._width = job.height, job.width

    def __call__(self, packet: bytes | None) -> Iterator[np.ndarray]:
        """Frames that are ready after this packet; None for a packet ends the stream."""
        for frame in self._context.decode(None if packet is None else av.Packet(packet)):
            frame.colorspace, frame.color_range = BT709, LIMITED
            yield self._pixels(frame)[: self._height, : self._width]


class Coder(Protocol):
    """A clip on its way through a codec."""

    bits: int
    """Of the stream; complete before the last frames come back."""

    def push(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        """Takes a frame (H, W, 3), uint8; those that are ready come back."""

    def finish(self) -> Iterator[np.ndarray]:
        """Ends the clip; the rest of its frames."""


def coder_for(job: Job) -> Coder:
    """At a rate or at a quality, as the job's setting has it."""
    return MatchedCoder(job) if job.setting.unit == "bpp" else ConstantCoder(job)


class ConstantCoder:
    """At a constant quality: holds no more frames than the encoder itself."""

    def __init__(self, job: Job) -> None:
        self.bits = 0
        self._frames = FrameSource(job)
        self._encoder = EncoderStream(job, job.setting.value)
        self._decoder = DecoderStream(job)

    def push(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        return self._back(self._encoder(self._frames(pixels)))

    def finish(self) -> Iterator[np.ndarray]:
        return self._back([*self._encoder(None), None])

    def _back(self, packets: Sequence[bytes | None]) -> Iterator[np.ndarray]:
        self.bits += size_of(packets)
        for packet in packets:
            yield from self._decoder(packet)


@dataclass(frozen=True)
class Stream:
    """An encoded clip."""

    packets: list[bytes]

    @property
    def bits(self) -> int:
        return size_of(self.packets)


class MatchedCoder:
    """At the best quality within a rate: holds the clip, 12 bits per pixel, and encodes it several times."""

    def __init__(self, job: Job) -> None:
        self.bits = 0
        self._job = job
        self._make = FrameSource(job)
        self._frames: list[Any] = []

    def push(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        self._frames.append(self._make(pixels))
        return iter(())

    def finish(self) -> Iterator[np.ndarray]:
        encoder, rate = self._job.encoder, self._job.setting.value
        best = largest_within(
            self._encode,
            rate * len(self._frames) * self._job.height * self._job.width,
            levels=encoder.levels,
            first=encoder.guess(rate),
            growth=encoder.growth / encoder.steps,
            tries=TRIES,
            enough=ENOUGH,
        )
        self._frames.clear()
        self.bits = best.bits
        decoder = DecoderStream(self._job)
        for packet in [*best.packets, None]:
            yield from decoder(packet)

    def _encode(self, level: int) -> Stream:
        encoder = EncoderStream(self._job, self._job.encoder.crf(level))
        return Stream([packet for frame in [*self._frames, None] for packet in encoder(frame)])


class FrameSource:
    """Pixels to frames for an encoder, numbered in order."""

    def __init__(self, job: Job) -> None:
        self._make = FrameMaker((job.width, job.height), job.coded_size, palette=False)
        self._period = 1 / job.rate
        self._count = 0

    def __call__(self, pixels: np.ndarray) -> Any:
        frame = self._make(pixels)
        frame.pts, frame.time_base = self._count, self._period
        self._count += 1
        return frame


def size_of(packets: Sequence[bytes | None]) -> int:
    """Bits."""
    return 8 * sum(len(packet) for packet in packets if packet is not None)


def without_sei(packet: bytes) -> bytes:
    """H.264 without the supplemental units that pictures do not need: x264 spends 700 bytes on signing its work."""
    starts = [*_START.finditer(packet)]
    ends = [start.start() for start in starts[1:]] + [len(packet)]
    return b"".join(
        packet[start.start() : end]
        for start, end in zip(starts, ends, strict=False)
        if packet[start.end()] & 31 != _H264_SEI
    )


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without the superuser's rights: with them, SVT-AV1 makes the whole process a real-time one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    with contextlib.suppress(OSError):  # a container may not allow it
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
