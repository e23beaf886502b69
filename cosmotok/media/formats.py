"""What `VideoWriter` can write, by suffix; frame rates and clocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cosmotok.errors import InputError

__all__ = ["OUTPUT_SUFFIXES", "OutputFormat", "clock_for", "encoder_options", "exact_rate", "format_of"]

_GIF_TICKS = 100
_FINEST_TICKS = 90_000


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What is written into the files of one suffix."""

    muxer: str
    codec: str
    options: dict[str, str]
    copied_audio: frozenset[str] | None  # None: whatever fits
    audio_encoder: str | None
    hides_early_audio: bool  # the part of a packet before time 0 is not heard


_BROWSER_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "flac", "alac"})
_FAST_START = {"movflags": "+faststart"}
_MP4 = OutputFormat("mp4", "libx264", _FAST_START, _BROWSER_AUDIO, "aac", True)
_MOV_AUDIO = (_BROWSER_AUDIO - {"opus", "flac"}) | {"pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}
_FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": OutputFormat("mov", "libx264", _FAST_START, _MOV_AUDIO, "aac", True),
    ".mkv": OutputFormat("matroska", "libx264", {}, None, "aac", False),
    ".webm": OutputFormat("webm", "libvpx-vp9", {}, frozenset({"opus", "vorbis"}), "libopus", False),
    ".gif": OutputFormat("gif", "gif", {}, frozenset(), None, False),
}
OUTPUT_SUFFIXES = frozenset(_FORMATS)
"""Suffixes `VideoWriter` writes."""


def exact_rate(rate: Fraction | float) -> Fraction:
    """Frames per second as a fraction; 23.976, 29.97 and 59.94 become the x/1001 they stand for."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, Fraction)) or not math.isfinite(rate):
        raise InputError(f"frame_rate: expected a number of frames per second, got {rate!r}")
    if not Fraction(1, 1000) <= rate <= 1000:
        raise InputError(f"frame_rate: must be from 0.001 to 1000 frames per second, got {rate}")
    if isinstance(rate, float):
        whole = round(rate * 1.001)
        if whole >= 10 and abs(rate - whole / 1.001) < 0.005 and not rate.is_integer():
            return Fraction(whole * 1000, 1001)
    exact = Fraction(rate)
    # Numerator and denominator become clock rates, which must stay small.
    return exact if max(exact.numerator, exact.denominator) <= 1_000_000 else exact.limit_denominator(1001)


def clock_for(kind: OutputFormat, rate: Fraction) -> Fraction:
    """Seconds per tick: frames at `rate` start on whole ticks, and there are at least 90,000 a second."""
    if kind.codec == "gif":
        return Fraction(1, _GIF_TICKS)
    return Fraction(1, rate.numerator * math.ceil(_FINEST_TICKS / rate.numerator))


def encoder_options(kind: OutputFormat, crf: int) -> dict[str, str]:
    """The video encoder's settings for a quality `crf` on x264's scale, 1..51 (VP9's has 63 steps)."""
    if kind.codec == "libx264":
        return {"crf": str(crf), "preset": "medium"}
    if kind.codec == "libvpx-vp9":
        vp9 = str(round(crf * 63 / 51))
        return {"crf": vp9, "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
    return {}


def format_of(path: Path) -> OutputFormat:
    """How to write `path`, by its suffix; `InputError` if that is none of `OUTPUT_SUFFIXES`."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        known = " ".join(sorted(_FORMATS))
        message = f"{path}: cannot tell the video format from {path.suffix!r}; use one of {known}"
        raise InputError(message) from None
