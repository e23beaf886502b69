"""What only the image network has: plain 2-D convolutions, resampling by them alone, norms over groups of channels.

It treats the frames of a video one by one.
"""

from __future__ import annotations

from torch import Tensor, nn

from cosmotok.network.blocks import SpatialAttention
from cosmotok.network.causal import SpatialConv, repeat_pixels
from cosmotok.network.stages import Axes, Parts
from cosmotok.network.state import StreamState

__all__ = ["IMAGE", "ImageDownsample", "ImageUpsample"]


class ImageDownsample(nn.Module):
    """Halves space by a strided convolution."""

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.conv = SpatialConv(channels, channels, stride=2)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.conv(x)


class ImageUpsample(nn.Module):
    """Doubles space by repetition and a convolution."""

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.conv = SpatialConv(channels, channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.conv(repeat_pixels(x))


def resampling(stages: int, space: int, time: int, legacy: bool = False) -> list[Axes]:
    """What follows each stage, of the encoder and of the decoder: space, as often as needed; never time."""
    return [Axes(i < space, False) for i in range(stages)]


IMAGE = Parts(
    conv=SpatialConv,
    groups=32,
    temporal=False,
    attention=(SpatialAttention,),
    downsample=ImageDownsample,
    upsample=ImageUpsample,
    downsampling=resampling,
    upsampling=resampling,
)
