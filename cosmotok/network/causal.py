"""Convolutions and normalisation on (B, T, H, W, C), the channels last in memory.

With that layout every operator of the network is a view away from a plain 2-D one: a spatial convolution sees the
frames as a batch, a temporal one sees (time, pixels) as its image, a 1x1x1 convolution is a matrix product.
Nothing at time t sees the future (paper section 3.1, "temporally causal").
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmotok.kernels.float32 import pointwise_kernel, spatial_kernel, temporal_kernel
from cosmotok.network.state import Causal, StreamState

__all__ = [
    "NORM_EPSILON",
    "FactorizedConv",
    "FrameNorm",
    "Pointwise",
    "SpatialConv",
    "TemporalConv",
    "mean_of_squares",
    "repeat_pixels",
    "swish",
]

NORM_EPSILON = 1e-6
"""Added to the variance that a norm divides by the root of."""


class Pointwise(nn.Linear):
    """1x1x1 convolution: the same linear map of the channels at every position."""

    kernel: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel or pointwise_kernel(x, self.weight, self.bias)
        return super().forward(x) if kernel is None else kernel(x)


class SpatialConv(nn.Module):
    """1 x 3 x 3 convolution of every frame by itself.

    Args:
        stride: 1 pads with one ring of zeros; 2 pads one row below and one column to the right, and halves the size.
    """

    kernel: Callable[[Tensor], Tensor] | None = None

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels))
        reset_parameters(self.weight, self.bias)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        images = x.flatten(0, 1)
        kernel = self.kernel
        if kernel is None and self.stride == 1:
            kernel = spatial_kernel(images, self.weight, self.bias)
        images = self.convolve(images) if kernel is None else kernel(images)
        return images.unflatten(0, x.shape[:2])

    def convolve(self, images: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H / stride, W / stride, O)."""
        images = images.permute(0, 3, 1, 2)
        if self.stride == 1:
            images = F.conv2d(images, self.weight, self.bias, padding=1)
        else:
            images = F.conv2d(F.pad(images, (0, 1, 0, 1)), self.weight, self.bias, stride=self.stride)
        return images.permute(0, 2, 3, 1).contiguous()


class TemporalConv(Causal):
    """3 x 1 x 1 causal convolution: each frame with the two before it; the first frame stands for those before.

    Args:
        stride: 1 keeps the length; 2 halves it (`Downsample` sees to an even number of frames).
    """

    taps = 3
    kernel: Callable[[Tensor | None, Tensor], Tensor] | None = None

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, self.taps))
        self.bias = nn.Parameter(torch.empty(out_channels))
        reset_parameters(self.weight, self.bias)

    def forward(self, x: Tensor, state: StreamState | None = None, reuse: bool = False) -> Tensor:
        """(B, T, H, W, C) to (B, T / stride, H, W, O).

        Args:
            reuse: whether nobody needs `x` any more, so that the result may take its memory.
        """
        past = self.recall(state)
        self.remember(state, past, x, self.taps - self.stride)
        if self.kernel is not None:
            return self.kernel(past, x)
        kernel = temporal_kernel(x, self.weight, self.bias) if self.stride == 1 else None
        return self.convolve(past, x) if kernel is None else kernel(past, x, x if reuse else None)

    def convolve(self, past: Tensor | None, x: Tensor) -> Tensor:
        """(B, T, H, W, C), and the frames before or None at the start of a stream, to (B, T / stride, H, W, O)."""
        x = torch.cat((lead(past, x, self.taps - self.stride), x), dim=1)
        image = x.flatten(2, 3).permute(0, 3, 1, 2)  # time is the image's height, all pixels its width
        image = F.conv2d(image, self.weight.unsqueeze(-1), self.bias, stride=(self.stride, 1))
        return image.permute(0, 2, 3, 1).unflatten(2, x.shape[2:4]).contiguous()


def lead(past: Tensor | None, x: Tensor, count: int) -> Tensor:
    """The frames before `x`: at the start of a stream its first one, `count` times."""
    return x[:, :1].expand(-1, count, *x.shape[2:]) if past is None else past


class FactorizedConv(nn.Module):
    """A 3-D convolution factorized into space, then causal time."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.spatial = SpatialConv(in_channels, out_channels)
        self.temporal = TemporalConv(out_channels, out_channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.temporal(self.spatial(x), state, reuse=True)


class FrameNorm(nn.Module):
    """Normalises every frame by itself over space and groups of channels; never over time (paper: "LayerNorm").

    Args:
        groups: 1 in the video networks, 32 in the image networks.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        image = x.flatten(0, 1).permute(0, 3, 1, 2)
        # Not F.group_norm, which refuses groups of a single value: one position of a narrow network.
        image = torch.group_norm(image, self.groups, self.weight, self.bias, NORM_EPSILON)
        return image.permute(0, 2, 3, 1).unflatten(0, (batch, frames)).contiguous()


def swish(x: Tensor) -> Tensor:
    """x sigmoid(x), in the memory of `x` where no gradient will ask for that."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def mean_of_squares(x: Tensor) -> Tensor:
    """The mean of every 2 x 2 square of pixels of (B, T, H, W, C)."""
    image = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(image, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def repeat_pixels(x: Tensor) -> Tensor:
    """Every pixel of (B, T, H, W, C) as a 2 x 2 square."""
    image = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.interpolate(image, scale_factor=2.0).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def reset_parameters(weight: Tensor, bias: Tensor) -> None:
    """The usual initialisation of a PyTorch convolution."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(bias, -bound, bound)
