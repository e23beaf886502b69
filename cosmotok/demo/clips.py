"""A visitor's file to tokens and back: in steps, between which work can be stopped, holding a few frames at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from cosmotok.defaults import ATTENTION_CONTEXT
from cosmotok.demo.limits import Limits
from cosmotok.errors import InputError
from cosmotok.frames import batches, to_pixels, to_video
from cosmotok.interface import BaseTokenizer
from cosmotok.media import Frame, MediaReader, open_media
from cosmotok.metrics.quality import RunningQuality
from cosmotok.pipeline import ClipReport, clip_report

__all__ = [
    "LATENT_BITS",
    "Result",
    "Show",
    "Steps",
    "Stopwatch",
    "encoded",
    "opened",
    "reconstructed",
    "reported",
    "scaled",
]

LATENT_BITS = 16
"""Of a latent's value, in figures."""
R = TypeVar("R")
Steps = Generator[float, None, R]
"""Work that tells after each step how much of it is done, 0 to 1, and returns its result."""


class Show(Protocol):
    """Takes two versions of a frame to show side by side, (H, W, 3) in uint8, and the frame that they are of."""

    def __call__(self, frame: Frame, left: np.ndarray, right: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Result:
    """What a clip became in a tokenizer."""

    tokens: Tensor
    """(1, T', H', W') or (1, C, T', H', W')."""
    report: ClipReport


class Stopwatch:
    """Adds up the seconds of some calls among others."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., R], *arguments: object) -> R:
        begin = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self.seconds += time.monotonic() - begin


def opened(
    path: str | Path, limits: Limits, frames: int, short_side: int, size: tuple[int, int] | None = None
) -> MediaReader:
    """A file's first frames, within the limits. They are read whenever they are gone through.

    Args:
        short_side: at most; larger frames are scaled down.
        size: (width, height) to scale to, whatever the limits are.

    Raises:
        MediaError: where it is no image or video, is damaged, or has too large frames to be read at all.
        InputError: for no frames, or no size.
    """
    if frames < 1 or short_side < 1:
        raise InputError(f"frames and size: expected at least 1, got {frames} and {short_side}")
    reader = open_media(path, frames=slice(0, min(frames, limits.frames)))
    return reader.scaled(size or limits.size(reader.info.width, reader.info.height, short_side))


def encoded(tokenizer: BaseTokenizer, clip: MediaReader) -> Steps[Tensor]:
    """Tokens of a clip, on the CPU: (1, T', H', W') or (1, C, T', H', W')."""
    encoder = tokenizer.stream_encoder(attention_context=ATTENTION_CONTEXT)
    parts, done = [], 0
    for batch in batches(clip, tokenizer.spec.step_frames):
        parts.append(encoder.push(to_video(batch, tokenizer.device)).cpu())
        done += len(batch)
        yield share(done, clip)
    parts.append(encoder.flush().cpu())
    return torch.cat(parts, tokenizer.spec.time_axis)


def reconstructed(tokenizer: BaseTokenizer, clip: MediaReader, show: Show) -> Steps[Result]:
    """A clip to tokens and back, original and copy shown; the time is that of encoding and decoding."""
    encoder = tokenizer.stream_encoder(attention_context=ATTENTION_CONTEXT)
    decoder = tokenizer.stream_decoder(attention_context=ATTENTION_CONTEXT, size=(clip.info.height, clip.info.width))
    originals: deque[Frame] = deque()
    parts: list[Tensor] = []
    quality, timed = RunningQuality(), Stopwatch()

    def push(tokens: Tensor) -> np.ndarray:
        parts.append(tokens.cpu())
        return to_pixels(decoder.push(tokens))

    def finish(copies: np.ndarray) -> None:
        for copy in copies[: len(originals)]:  # what is left is padding of the last group
            original = originals.popleft()
            quality.update(original.pixels, copy)
            show(original, original.pixels, copy)

    for batch in batches(clip, tokenizer.spec.step_frames):
        originals.extend(batch)
        finish(timed(lambda video: push(encoder.push(video)), to_video(batch, tokenizer.device)))
        yield share(quality.frames + len(originals), clip)
    finish(timed(lambda: push(encoder.flush())))
    finish(timed(lambda: to_pixels(decoder.flush())))
    tokens = torch.cat(parts, tokenizer.spec.time_axis)
    return Result(tokens, reported(tokenizer, clip, quality, timed.seconds))


def share(done: int, clip: MediaReader) -> float:
    """Of the clip's frames, as far as their number is known."""
    return min(1.0, done / max(done, clip.info.frame_count or 0)) if done else 0.0


def reported(tokenizer: BaseTokenizer, clip: MediaReader, quality: RunningQuality, seconds: float) -> ClipReport:
    """Figures of a clip that came back."""
    return clip_report(
        tokenizer.spec,
        clip.info.path,
        Path(),
        clip.info,
        quality.frames,
        LATENT_BITS,
        seconds,
        psnr=quality.psnr,
        ssim=quality.ssim,
    )


def scaled(steps: Steps[R], low: float, high: float) -> Steps[R]:
    """The same work as a part of more: from `low` to `high`."""
    while True:
        try:
            yield low + (high - low) * next(steps)
        except StopIteration as end:
            return end.value
