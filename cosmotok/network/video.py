"""What only the video network has: resampling in space and time, factorized convolutions, temporal attention."""

from __future__ import annotations

from torch import Tensor

from cosmotok.network.blocks import SpatialAttention, TemporalAttention
from cosmotok.network.causal import FactorizedConv, Pointwise, SpatialConv, TemporalConv, mean_of_squares, repeat_pixels
from cosmotok.network.stages import Axes, Parts
from cosmotok.network.state import Causal, StreamState, is_start, repeat_first

__all__ = ["VIDEO", "Downsample", "Upsample"]


class Downsample(Causal):
    """Halves space, then time: in each a strided convolution added to a mean; then a 1x1x1 convolution."""

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.spatial = SpatialConv(channels, channels, stride=2) if axes.space else None
        self.temporal = TemporalConv(channels, channels, stride=2) if axes.time else None
        self.mix = Pointwise(channels, channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        if self.spatial is not None:
            x = self.spatial(x).add_(mean_of_squares(x))
        if self.temporal is not None:
            if is_start(state):  # the first frame is a pair with itself
                x = repeat_first(x, 1)
            x = self.temporal(x, state).add_(x[:, ::2].add(x[:, 1::2]).mul_(0.5))
        return self.mix(x)


class Upsample(Causal):
    """Doubles time, then space, by repetition and a residual convolution each; then a 1x1x1 convolution."""

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.temporal = TemporalConv(channels, channels) if axes.time else None
        self.spatial = SpatialConv(channels, channels) if axes.space else None
        self.mix = Pointwise(channels, channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        if self.temporal is not None:
            x = x.repeat_interleave(2, dim=1)
            if is_start(state):  # the first frame of a stream stays single
                x = x[:, 1:]
            x = self.temporal(x, state).add_(x)
        if self.spatial is not None:
            x = repeat_pixels(x)
            x = self.spatial(x).add_(x)
        return self.mix(x)


def downsampling(stages: int, space: int, time: int) -> list[Axes]:
    """What follows each encoder stage, given how often space and time are to be halved."""
    return [Axes(i < space, i < time) if i < stages - 1 else Axes(False, False) for i in range(stages)]


def upsampling(stages: int, space: int, time: int, legacy: bool) -> list[Axes]:
    """What follows each decoder stage, deepest first.

    Time waits for the second stage, and takes space along; if there is more space than time to undo, space
    begins at once. The oldest checkpoints (`legacy`) begin with time.
    """
    axes = []
    for i in range(stages - 1):
        in_time = i < time if legacy else 0 < i <= time
        axes.append(Axes(in_time or (i < space and space > time), in_time))
    return [*axes, Axes(False, False)]


VIDEO = Parts(
    conv=FactorizedConv,
    groups=1,
    temporal=True,
    attention=(SpatialAttention, TemporalAttention),
    downsample=Downsample,
    upsample=Upsample,
    downsampling=downsampling,
    upsampling=upsampling,
)
