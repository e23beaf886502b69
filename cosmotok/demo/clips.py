"""A visitor's file to frames, frames to tokens, tokens to frames: in steps, between which work can be stopped."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cosmotok.defaults import ATTENTION_CONTEXT
from cosmotok.demo.limits import Limits
from cosmotok.errors import InputError
from cosmotok.interface import BaseTokenizer
from cosmotok.media import Frame, MediaInfo, open_media
from cosmotok.metrics.quality import RunningQuality
from cosmotok.pipeline import ClipReport, batches, clip_report, to_pixels, to_video

__all__ = ["LATENT_BITS", "Clip", "Result", "Steps", "decoded", "encoded", "measured", "read", "reconstructed"]

LATENT_BITS = 16
"""Of a latent's value, in figures."""
R = TypeVar("R")
Steps = Generator[float, None, R]
"""Work that tells after each step how much of it is done, 0 to 1, and returns its result."""


@dataclass(frozen=True)
class Clip:
    """The frames of an image or of the beginning of a video."""

    info: MediaInfo
    frames: tuple[Frame, ...]

    @property
    def pixels(self) -> np.ndarray:
        """(T, H, W, 3), uint8."""
        return np.stack([frame.pixels for frame in self.frames])


@dataclass(frozen=True)
class Result:
    """A clip that went through a tokenizer."""

    clip: Clip
    tokens: Tensor
    """(1, T', H', W') or (1, C, T', H', W')."""
    pixels: np.ndarray
    """What came back: (T, H, W, 3), uint8."""
    report: ClipReport


def read(path: str | Path, limits: Limits, frames: int, short_side: int, size: tuple[int, int] | None = None) -> Clip:
    """A file's first frames, within the limits.

    Args:
        short_side: at most; larger frames are scaled down.
        size: (width, height) to scale to, whatever the limits are.

    Raises:
        MediaError: where it is no image or video, is damaged, or has too large frames to be read at all.
        InputError: for no frames, or no size.
    """
    if frames < 1 or short_side < 1:
        raise InputError(f"frames and size: expected at least 1, got {frames} and {short_side}")
    chosen = slice(0, min(frames, limits.frames))
    with open_media(path, frames=chosen) as reader:
        size = size or limits.size(reader.info.width, reader.info.height, short_side)
        reader = reader.scaled(size)
        kept = tuple(reader)
    return Clip(replace(reader.info, width=size[0], height=size[1]), kept)


def encoded(tokenizer: BaseTokenizer, clip: Clip) -> Steps[Tensor]:
    """Tokens of a clip, on the CPU: (1, T', H', W') or (1, C, T', H', W')."""
    encoder = tokenizer.stream_encoder(attention_context=ATTENTION_CONTEXT)
    parts, done = [], 0
    for batch in batches(clip.frames, tokenizer.spec.step_frames):
        parts.append(encoder.push(to_video(batch, tokenizer.device)).cpu())
        done += len(batch)
        yield done / len(clip.frames)
    parts.append(encoder.flush().cpu())
    return torch.cat(parts, tokenizer.spec.time_axis)


def decoded(tokenizer: BaseTokenizer, tokens: Tensor, size: tuple[int, int, int]) -> Steps[np.ndarray]:
    """Frames (T, H, W, 3), uint8, of tokens.

    Args:
        size: (T, H, W) of the clip.
    """
    count, height, width = size
    decoder = tokenizer.stream_decoder(attention_context=ATTENTION_CONTEXT, size=(height, width))
    pieces = tokens.split(1, tokenizer.spec.time_axis)
    parts = []
    for done, piece in enumerate(pieces, 1):
        parts.append(to_pixels(decoder.push(piece.to(tokenizer.device))))
        yield done / len(pieces)
    parts.append(to_pixels(decoder.flush()))
    return np.concatenate(parts)[:count]


def measured(tokenizer: BaseTokenizer, clip: Clip, pixels: np.ndarray, seconds: float) -> ClipReport:
    """Figures of a clip and what came back of it, (T, H, W, 3) in uint8."""
    quality = RunningQuality()
    for frame, copy in zip(clip.frames, pixels, strict=True):
        quality.update(frame.pixels, copy)
    return clip_report(
        tokenizer.spec,
        clip.info.path,
        Path(),
        clip.info,
        len(clip.frames),
        LATENT_BITS,
        seconds,
        psnr=quality.psnr,
        ssim=quality.ssim,
    )


def reconstructed(tokenizer: BaseTokenizer, clip: Clip) -> Steps[Result]:
    """A clip to tokens and back; the time is that of encoding and decoding."""
    begin = time.monotonic()
    tokens = yield from scaled(encoded(tokenizer, clip), 0, 0.4)
    size = (len(clip.frames), clip.info.height, clip.info.width)
    pixels = yield from scaled(decoded(tokenizer, tokens, size), 0.4, 1)
    seconds = time.monotonic() - begin
    return Result(clip, tokens, pixels, measured(tokenizer, clip, pixels, seconds))


def scaled(steps: Steps[R], low: float, high: float) -> Steps[R]:
    """The same work as a part of more: from `low` to `high`."""
    while True:
        try:
            yield low + (high - low) * next(steps)
        except StopIteration as end:
            return end.value
