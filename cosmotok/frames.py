"""Frames of files, (H, W, 3) and uint8, and the videos that a tokenizer takes and gives: from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from cosmotok.interface import to_dtype

__all__ = ["DIFFERENCE_GAIN", "Pixels", "batches", "difference", "fetch", "in_a_row", "to_pixels", "to_video"]

DIFFERENCE_GAIN = 4
"""By which the difference picture is amplified."""

CPU = torch.device("cpu")
F = TypeVar("F")
Pixels = Callable[[], np.ndarray]
"""Frames (T, H, W, 3), uint8, once they have arrived from the device."""


class HasPixels(Protocol):
    """A frame of any kind."""

    @property
    def pixels(self) -> np.ndarray: ...


def batches(frames: Iterable[F], count: int) -> Iterator[list[F]]:
    """The frames of a file, at most `count` at a time; the first by itself, as the streaming schedule has it."""
    batch: list[F] = []
    first = True
    for frame in frames:
        batch.append(frame)
        if first or len(batch) == count:
            yield batch
            batch, first = [], False
    if batch:
        yield batch


def to_video(frames: Sequence[HasPixels], device: torch.device = CPU) -> Tensor:
    """Frames to (1, 3, T, H, W), uint8, on their way to a GPU if that is the device."""
    video = torch.from_numpy(np.stack([frame.pixels for frame in frames])).permute(3, 0, 1, 2).unsqueeze(0)
    return video.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else video


def to_pixels(video: Tensor) -> np.ndarray:
    """(1, 3, T, H, W) in [-1, 1] to frames (T, H, W, 3), uint8."""
    return fetch(video)()


def fetch(video: Tensor) -> Pixels:
    """`to_pixels`, to be called for. A GPU may go on computing until then."""
    pixels = to_dtype(video[0], torch.uint8).permute(1, 2, 3, 0).contiguous()
    if video.device.type != "cuda":
        return pixels.cpu().numpy
    copy = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    copy.copy_(pixels, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(video.device))

    def wait() -> np.ndarray:
        arrived.synchronize()
        return copy.numpy()

    return wait


def in_a_row(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Original, reconstruction and amplified difference (grey where equal) side by side."""
    return np.concatenate((original, reconstruction, difference(original, reconstruction)), axis=1)


def difference(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Of two frames, amplified by `DIFFERENCE_GAIN`; grey where equal. All (H, W, 3), uint8."""
    amplified = (reconstruction.astype(np.int16) - original) * DIFFERENCE_GAIN + 128
    return amplified.clip(0, 255).astype(np.uint8)
