"""Classical video codecs: which encoder of FFmpeg, with which settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import av.codec

from cosmotok.errors import MissingExtraError

__all__ = ["ENCODERS", "CodecEncoder", "encoder_of", "is_there"]


@dataclass(frozen=True)
class CodecEncoder:
    """An encoder at constant quality: one thread, so that every machine makes the same bits."""

    codec: str
    name: str
    """FFmpeg's name."""
    decoders: tuple[str, ...]
    """The first of these that is there decodes."""
    text: str
    """Settings, for people."""
    options: dict[str, str]
    """Beside the quality."""
    crfs: tuple[int, int]
    """Best and worst constant rate factor."""
    steps: int
    """Per unit of the constant rate factor."""
    growth: float
    """Of the logarithm of the size per unit, roughly."""

    @property
    def levels(self) -> int:
        """Constant rate factors that a rate is matched with."""
        best, worst = self.crfs
        return (worst - best) * self.steps + 1

    def crf(self, level: int) -> float:
        """Of level 0, the smallest file, to `levels - 1`."""
        return self.crfs[1] - level / self.steps

    def guess(self, rate: float) -> int:
        """The level at which a clip takes about `rate` bits per pixel; clips differ tenfold."""
        level = self.levels // 2 + round(math.log(rate / _MIDDLE_RATE) / self.growth * self.steps)
        return min(max(level, 0), self.levels - 1)


_MIDDLE_RATE = 0.1
"""Bits per pixel of ordinary clips at the middle of the scale."""

_COMMON = {"g": "250"}  # frames from one key frame to the next at most

ENCODERS = (
    CodecEncoder(
        "h264",
        "libx264",
        ("h264",),
        "x264, preset slow, tuned for PSNR",
        {**_COMMON, "preset": "slow", "tune": "psnr"},
        crfs=(0, 51),
        steps=4,
        growth=0.12,
    ),
    CodecEncoder(
        "hevc",
        "libx265",
        ("hevc",),
        "x265, preset medium, tuned for PSNR",
        {
            **_COMMON,
            "preset": "medium",
            "tune": "psnr",
            "x265-params": "log-level=none:pools=none:frame-threads=1:info=0",
        },
        crfs=(0, 51),
        steps=4,
        growth=0.12,
    ),
    CodecEncoder(
        "vp9",
        "libvpx-vp9",
        ("vp9", "libvpx-vp9"),
        "libvpx, good quality, speed 2, alternate reference frames",
        {**_COMMON, "b": "0", "deadline": "good", "cpu-used": "2", "lag-in-frames": "25", "auto-alt-ref": "1"},
        crfs=(0, 63),
        steps=1,
        growth=0.07,
    ),
    CodecEncoder(
        "av1",
        "libsvtav1",
        ("libdav1d", "libaom-av1"),
        "SVT-AV1, preset 6, tuned for PSNR",
        {**_COMMON, "preset": "6", "svtav1-params": "lp=1:tune=1"},
        crfs=(1, 63),
        steps=1,
        growth=0.06,
    ),
    CodecEncoder(
        "av1",
        "libaom-av1",
        ("libdav1d", "libaom-av1"),
        "libaom, speed 4",
        {**_COMMON, "b": "0", "cpu-used": "4", "lag-in-frames": "35"},
        crfs=(1, 63),
        steps=1,
        growth=0.06,
    ),
)


def encoder_of(codec: str) -> CodecEncoder:
    """The first encoder of `codec` that this PyAV has.

    Raises:
        MissingExtraError: where it has none; says what it has.
    """
    for encoder in ENCODERS:
        if encoder.codec == codec and is_there(encoder.name, "w"):
            return encoder
    wanted = " nor ".join(encoder.name for encoder in ENCODERS if encoder.codec == codec)
    have = ", ".join(f"{e.codec} ({e.name})" for e in ENCODERS if is_there(e.name, "w")) or "no video encoder of use"
    raise MissingExtraError(f"{codec}: this PyAV has neither {wanted}, but {have}; pip install --force-reinstall av")


def is_there(name: str, mode: Literal["r", "w"]) -> bool:
    """Whether FFmpeg was built with a decoder ("r") or encoder ("w") of that name."""
    try:
        av.codec.Codec(name, mode)
    except ValueError:  # PyAV's UnknownCodecError
        return False
    return True
