"""Tokens made visible: pictures of indices and latents, and how often codes are used."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["channel_pictures", "code_bars", "code_pictures", "latent_pictures"]

GOLDEN = 0.6180339887498949
"""Share of the circle of hues between one code and the next: none of the next few is close."""
DEVIATIONS = 2.5
"""A picture's darkest and lightest: so many standard deviations from the mean."""


@lru_cache(maxsize=4)
def palette(codes: int) -> np.ndarray:
    """A colour for each code, (codes, 3) in uint8; neighbours differ in hue, and far codes in lightness too."""
    colours = [
        colorsys.hls_to_rgb(code * GOLDEN % 1, 0.35 + 0.4 * (code * GOLDEN**2 % 1), 0.55 + 0.35 * (code % 3) / 2)
        for code in range(codes)
    ]
    return np.round(np.array(colours) * 255).astype(np.uint8)


def code_pictures(indices: Tensor, vocab_size: int) -> np.ndarray:
    """Indices (1, T', H', W') as colours, (T', H', W', 3) in uint8: the same code always has the same one."""
    return palette(vocab_size)[indices[0].numpy()]


def latent_pictures(latents: Tensor) -> np.ndarray:
    """Latents (1, C, T', H', W') as colours, (T', H', W', 3) in uint8: their first three principal components over the
    whole clip as red, green and blue; with fewer than three channels the rest is grey."""
    channels, *grid = latents.shape[1:]
    values = latents[0].float().reshape(channels, -1)
    values = values - values.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh(values @ values.T)
    axes = axes.flip(1)[:, :3]  # the largest first
    axes = axes * torch.where(
        axes.gather(0, axes.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0
    )  # else signs are chance
    colours = torch.zeros(3, values.shape[1])
    colours[: axes.shape[1]] = axes.T @ values
    return shades(colours).reshape(3, *grid).transpose(1, 2, 3, 0)


def channel_pictures(latents: Tensor, frame: int) -> np.ndarray:
    """Every channel of a latent frame by itself, (C, H', W') grey in uint8; of latents (1, C, T', H', W')."""
    plane = latents[0, :, frame].float()
    flat = plane.flatten(1)
    return shades(flat - flat.mean(1, keepdim=True)).reshape(plane.shape)


def shades(rows: Tensor) -> np.ndarray:
    """Rows with mean 0 to 0..255, each by its own deviation."""
    deviation = rows.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    return ((rows / (deviation * DEVIATIONS) + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).numpy()


def code_bars(histogram: Tensor, bars: int = 64) -> list[int]:
    """Counts of codes added up over `bars` equal parts of the vocabulary, or one for each code where it is smaller."""
    codes = len(histogram)
    bars = min(bars, codes)
    places = torch.arange(codes) * bars // codes
    return torch.zeros(bars, dtype=torch.int64).index_add_(0, places, histogram).tolist()
