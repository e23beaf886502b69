"""Layers as the published code lays them out, in plain PyTorch, of clips (B, C, T, H, W) and of images (B, C, H, W).

Attributes have the names of the published parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["IMAGE_LAYERS", "VIDEO_LAYERS", "Haar", "Layers", "ResidualBlock", "Swish"]


class Haar(nn.Module):
    """The wavelet transform by grouped convolutions; over time, too, where there are 3 axes."""

    def __init__(self, patch: int, axes: int) -> None:
        super().__init__()
        self.patch, self.levels = patch, patch.bit_length() - 1
        self.order = (2, 3, 4) if axes == 3 else (3, 2)  # images: width before height
        self.register_buffer("filters", torch.tensor([[1.0, 1.0], [1.0, -1.0]]) * 0.5**0.5, persistent=False)

    filters: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 5:
            x = torch.cat((x[:, :, :1].repeat(1, 1, self.patch - 1, 1, 1), x), dim=2)
        for _ in range(self.levels):
            bands = [x]
            for axis in self.order:
                bands = [half for band in bands for half in self.split(band, axis)]
            x = torch.cat(bands, dim=1) / 2 ** (len(self.order) / 2)
        return x

    def inverse(self, x: Tensor) -> Tensor:
        for _ in range(self.levels):
            bands = list((x * 2 ** (len(self.order) / 2)).chunk(2 ** len(self.order), dim=1))
            for axis in reversed(self.order):
                bands = [self.merge(low, high, axis) for low, high in zip(bands[::2], bands[1::2], strict=True)]
            (x,) = bands
        return x[:, :, self.patch - 1 :] if x.ndim == 5 else x

    def split(self, x: Tensor, axis: int) -> Iterable[Tensor]:
        convolve: Callable[..., Tensor] = F.conv3d if x.ndim == 5 else F.conv2d
        return [convolve(x, *self.filter(i, x, axis), groups=x.shape[1]) for i in range(2)]

    def merge(self, low: Tensor, high: Tensor, axis: int) -> Tensor:
        convolve: Callable[..., Tensor] = F.conv_transpose3d if low.ndim == 5 else F.conv_transpose2d
        low, high = (convolve(x, *self.filter(i, x, axis), groups=x.shape[1]) for i, x in enumerate((low, high)))
        return low + high

    def filter(self, i: int, x: Tensor, axis: int) -> tuple[Tensor, None, list[int]]:
        """Kernel of each channel, no bias, and stride along `axis`."""
        sizes = [2 if other == axis else 1 for other in range(2, x.ndim)]
        return self.filters[i].view(1, 1, *sizes).repeat(x.shape[1], 1, *[1] * len(sizes)), None, sizes


class CausalConv3d(nn.Module):
    """3-D convolution of kernel (time, space, space) behind copies of the first frame."""

    def __init__(self, in_channels: int, out_channels: int, time: int = 1, space: int = 1, stride: Any = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, (time, space, space), stride)
        self.before = time - self.conv3d.stride[0]
        self.around = space // 2 if self.conv3d.stride[2] == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = torch.cat((x[:, :, :1].repeat(1, 1, self.before, 1, 1), x), dim=2)
        if self.around:
            x = F.pad(x, (self.around,) * 4)
        y: Tensor = self.conv3d(x)
        return y


class FrameNorm(nn.Module):
    """GroupNorm of every frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return as_clip(self.norm(as_frames(x)), x)


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class ResidualBlock(nn.Module):
    def __init__(self, layers: Layers, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.swish = Swish()
        self.norm1 = layers.norm(in_channels)
        self.conv1 = layers.conv(in_channels, out_channels)
        self.norm2 = layers.norm(out_channels)
        self.conv2 = layers.conv(out_channels, out_channels)
        self.nin_shortcut = nn.Identity() if in_channels == out_channels else layers.point(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.swish(self.norm1(x)))
        h = self.conv2(self.swish(self.norm2(h)))
        y: Tensor = self.nin_shortcut(x) + h
        return y


class SpatialAttention(nn.Module):
    """Among the positions of each frame."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.norm = layers.norm(channels)
        self.q, self.k, self.v, self.proj_out = (layers.point(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (as_frames(project(h)).flatten(2) for project in (self.q, self.k, self.v))  # (B T, C, H W)
        weights = torch.bmm(q.transpose(1, 2), k) * q.shape[1] ** -0.5
        h = torch.bmm(v, weights.softmax(dim=2).transpose(1, 2))
        y: Tensor = x + self.proj_out(as_clip(h.unflatten(2, x.shape[-2:]), x))
        return y


class TemporalAttention(SpatialAttention):
    """Among the frames at each position, none of them later."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frames, height, width = x.shape
        h = self.norm(x)
        # (B H W, T, C)
        q, k, v = (
            project(h).permute(0, 3, 4, 2, 1).reshape(-1, frames, channels) for project in (self.q, self.k, self.v)
        )
        weights = torch.bmm(q, k.transpose(1, 2)) * channels**-0.5
        later = torch.ones_like(weights[0], dtype=torch.bool).triu(1)
        h = torch.bmm(weights.masked_fill(later, -torch.inf).softmax(dim=2), v)
        h = h.view(batch, height, width, frames, channels).permute(0, 4, 3, 1, 2)
        y: Tensor = x + self.proj_out(h)
        return y


class Downsample(nn.Module):
    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv1 = CausalConv3d(channels, channels, space=3, stride=(1, 2, 2)) if space else None
        self.conv2 = CausalConv3d(channels, channels, time=3, stride=(2, 1, 1)) if time else None
        self.conv3 = CausalConv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv1 is not None:
            x = F.pad(x, (0, 1, 0, 1))
            x = self.conv1(x) + F.avg_pool3d(x, (1, 2, 2))
        if self.conv2 is not None:
            x = torch.cat((x[:, :, :1], x), dim=2)
            x = self.conv2(x) + F.avg_pool3d(x, (2, 1, 1))
        y: Tensor = self.conv3(x)
        return y


class Upsample(nn.Module):
    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv1 = CausalConv3d(channels, channels, time=3) if time else None
        self.conv2 = CausalConv3d(channels, channels, space=3) if space else None
        self.conv3 = CausalConv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv1 is not None:
            x = x.repeat_interleave(2, dim=2)[:, :, 1:]
            x = self.conv1(x) + x
        if self.conv2 is not None:
            x = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
            x = self.conv2(x) + x
        y: Tensor = self.conv3(x)
        return y


class ImageDownsample(nn.Module):
    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class ImageUpsample(nn.Module):
    def __init__(self, channels: int, space: bool, time: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        return y


@dataclass(frozen=True)
class Layers:
    """What distinguishes the video from the image network."""

    conv: Callable[[int, int], nn.Module]
    point: Callable[[int, int], nn.Module]
    norm: Callable[[int], nn.Module]
    attention: Callable[[Layers, int], nn.Module]
    down: Callable[[int, bool, bool], nn.Module]
    up: Callable[[int, bool, bool], nn.Module]


VIDEO_LAYERS = Layers(
    conv=lambda i, o: nn.Sequential(CausalConv3d(i, o, space=3), CausalConv3d(o, o, time=3)),
    point=CausalConv3d,
    norm=FrameNorm,
    attention=lambda layers, c: nn.Sequential(SpatialAttention(layers, c), TemporalAttention(layers, c)),
    down=Downsample,
    up=Upsample,
)
IMAGE_LAYERS = Layers(
    conv=lambda i, o: nn.Conv2d(i, o, 3, padding=1),
    point=lambda i, o: nn.Conv2d(i, o, 1),
    norm=lambda c: nn.GroupNorm(32, c, eps=1e-6),
    attention=SpatialAttention,
    down=ImageDownsample,
    up=ImageUpsample,
)


def as_frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B T, C, H, W); images stay."""
    return x.transpose(1, 2).flatten(0, 1) if x.ndim == 5 else x


def as_clip(frames: Tensor, like: Tensor) -> Tensor:
    """Inverse of `as_frames`."""
    return frames.unflatten(0, (like.shape[0], like.shape[2])).transpose(1, 2) if like.ndim == 5 else frames
