"""Encoder and decoder: stages of residual blocks with resampling between them (paper section 3.1).

The wavelet has already divided the video by `patch`; the stages see to the rest of the compression factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from cosmotok.network.blocks import Conv, Middle, ResidualBlock
from cosmotok.network.causal import FrameNorm, swish
from cosmotok.network.state import StreamState

__all__ = ["Axes", "Decoder", "Encoder", "Parts"]


class Axes(NamedTuple):
    """The axes that a stage resamples by 2."""

    space: bool
    time: bool


@dataclass(frozen=True)
class Parts:
    """What distinguishes the video from the image network; everything else is the same for both."""

    conv: Conv
    groups: int
    temporal: bool
    attention: tuple[Callable[[int, int], nn.Module], ...]
    downsample: Callable[[int, Axes], nn.Module]
    upsample: Callable[[int, Axes], nn.Module]
    downsampling: Callable[[int, int, int], list[Axes]]
    """What follows each encoder stage, from the number of stages and how often to halve space and time."""
    upsampling: Callable[[int, int, int, bool], list[Axes]]
    """What follows each decoder stage, deepest first; the last argument is for the oldest checkpoints."""

    def middle(self, channels: int) -> Middle:
        return Middle(channels, self.conv, self.groups, [make(channels, self.groups) for make in self.attention])


class Stage(nn.Module):
    """Residual blocks of one width, then the resampling (None where the stage keeps the size)."""

    def __init__(self, blocks: Sequence[ResidualBlock], resample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, state)
        return x if self.resample is None else self.resample(x, state)


def make_stages(
    parts: Parts,
    widths: Sequence[int],
    blocks: int,
    axes: Sequence[Axes],
    resample: Callable[[int, Axes], nn.Module],
) -> nn.ModuleList:
    """One stage for each step of `widths`, which begins with the width of what comes in."""
    stages = []
    for width_in, width, stage_axes in zip(widths[:-1], widths[1:], axes, strict=True):
        block = partial(ResidualBlock, out_channels=width, conv=parts.conv, groups=parts.groups)
        row = [block(width_in)] + [block(width) for _ in range(blocks - 1)]
        stages.append(Stage(row, resample(width, stage_axes) if any(stage_axes) else None))
    return nn.ModuleList(stages)


class Encoder(nn.Module):
    """Wavelet sub-bands (B, T, H, W, bands) to features (B, T', H', W', z_channels)."""

    def __init__(
        self,
        parts: Parts,
        bands: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        z_channels: int,
        axes: Sequence[Axes],
    ) -> None:
        super().__init__()
        widths = [channels * m for m in (1, *multipliers)]
        self.conv_in = parts.conv(bands, channels)
        self.stages = make_stages(parts, widths, blocks, axes, parts.downsample)
        self.middle = parts.middle(widths[-1])
        self.norm_out = FrameNorm(widths[-1], parts.groups)
        self.conv_out = parts.conv(widths[-1], z_channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        x = self.conv_in(x, state)
        for stage in self.stages:
            x = stage(x, state)
        x = self.middle(x, state)
        return self.conv_out(swish(self.norm_out(x)), state)


class Decoder(nn.Module):
    """Features (B, T', H', W', z_channels) to wavelet sub-bands (B, T, H, W, bands); mirrors the encoder."""

    def __init__(
        self,
        parts: Parts,
        bands: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        z_channels: int,
        axes: Sequence[Axes],
    ) -> None:
        super().__init__()
        widths = [channels * m for m in (multipliers[-1], *reversed(multipliers))]
        self.conv_in = parts.conv(z_channels, widths[0])
        self.middle = parts.middle(widths[0])
        self.stages = make_stages(parts, widths, blocks, axes, parts.upsample)
        self.norm_out = FrameNorm(widths[-1], parts.groups)
        self.conv_out = parts.conv(widths[-1], bands)

    def forward(self, z: Tensor, state: StreamState | None = None) -> Tensor:
        x = self.middle(self.conv_in(z, state), state)
        for stage in self.stages:
            x = stage(x, state)
        return self.conv_out(swish(self.norm_out(x)), state)
