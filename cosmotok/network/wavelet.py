"""The Haar wavelet transform in front of the encoder and, inverted, behind the decoder (paper section 3.1).

Layout everywhere in `network`: (B, T, H, W, C). One level splits each axis into means and half differences,
(a + b) / 2 and (a - b) / 2, divided once for all axes, and puts the new sub-band in front of the channels: after time,
height and width the order is LLL, LLH, LHL, LHH, HLL, HLH, HHL, HHH, each holding all the channels of the level
before. Divisions are by powers of two, so the transform is inverted without loss wherever the sums are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cosmotok.network.state import Causal, StreamState, is_start, repeat_first

__all__ = ["HaarTransform", "InverseHaarTransform"]

TIME, HEIGHT, WIDTH = 1, 2, 3
# The axis split last has its sub-band letter first. The image networks of the paper order their bands by
# (width, height), the video networks by (time, height, width).
VIDEO_AXES = (WIDTH, HEIGHT, TIME)
IMAGE_AXES = (HEIGHT, WIDTH)


def split(x: Tensor, axis: int) -> Tensor:
    """Halves `axis`, doubles the channels: sums first, then differences."""
    a, b = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return torch.cat((a + b, a - b), dim=-1)


def merge(x: Tensor, axis: int) -> Tensor:
    """Inverse of `split`."""
    low, high = x.chunk(2, dim=-1)
    return torch.stack((low + high, low - high), dim=axis + 1).flatten(axis, axis + 1)


class HaarTransform(Causal):
    """Frames (B, T, H, W, C) -> sub-bands (B, T/p, H/p, W/p, C p^3), or without time (B, T, H/p, W/p, C p^2).

    Args:
        patch: 2 or 4, the down-sampling along each axis: one or two levels.
        temporal: whether time is transformed too. Then the first frame of a stream forms a group of its own: it is
            repeated in front until the group is full, so that an image and a video share one latent space.
    """

    def __init__(self, patch: int, temporal: bool) -> None:
        super().__init__()
        self.patch, self.temporal = patch, temporal
        self.axes = VIDEO_AXES if temporal else IMAGE_AXES

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        if self.temporal and is_start(state):
            x = repeat_first(x, self.patch - 1)
        for _ in range(self.patch.bit_length() - 1):
            for axis in self.axes:
                x = split(x, axis)
            x = x * 0.5 ** len(self.axes)
        return x


class InverseHaarTransform(Causal):
    """Inverse of `HaarTransform`; drops the repeated copies of a stream's first frame."""

    def __init__(self, patch: int, temporal: bool) -> None:
        super().__init__()
        self.patch, self.temporal = patch, temporal
        self.axes = VIDEO_AXES if temporal else IMAGE_AXES

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        for _ in range(self.patch.bit_length() - 1):
            for axis in reversed(self.axes):
                x = merge(x, axis)
        if self.temporal and is_start(state):
            x = x[:, self.patch - 1 :]
        return x
