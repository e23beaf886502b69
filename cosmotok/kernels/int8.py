"""What computes a layer in 8-bit integers on the CPU: oneDNN's convolutions and products on VNNI, four times as fast.

Activations are unsigned with a scale and a zero point for the whole tensor, fixed beforehand, so that a result never
depends on what else is in the batch or chunk; weights are signed with a scale for every output channel. Sums are exact
in 32 bits and leave as float32, or as the next layer's integers.
"""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from cosmotok.errors import InputError
from cosmotok.private import has_vnni

__all__ = ["Grid", "PointwiseInt8", "SpatialInt8", "TemporalInt8", "UpsampledInt8", "require_int8"]

OPERATORS = ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")
LEVELS = 255
"""Steps between the smallest and the largest activation."""
LARGEST = 127
"""Weight; -128 is left out, so that they are symmetric."""


@dataclass(frozen=True)
class Grid:
    """The 256 activations that integers stand for: (integer - zero_point) * scale. Zero is one of them."""

    scale: float
    zero_point: int

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """From `low` to `high`, and to zero where that lies outside."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-12) / LEVELS
        return cls(scale, round(-low / scale))

    def quantize(self, x: Tensor) -> Tensor:
        """To the nearest integers, as uint8; what is uint8 already stays as it is."""
        if x.dtype == torch.uint8:
            return x
        if not hasattr(torch, "quantize_per_tensor"):
            return x.mul(1 / self.scale).round_().add_(self.zero_point).clamp_(0, LEVELS).to(torch.uint8)
        # Several times as fast; the integers are taken out of the quantised tensor without a copy.
        quantized = torch.quantize_per_tensor(x.contiguous(), self.scale, self.zero_point, torch.quint8)
        return torch.empty(0, dtype=torch.uint8).set_(quantized.untyped_storage(), 0, x.shape, quantized.stride())


class Int8:
    """A layer's weights as integers.

    Args:
        weight: (O, C, ...), float32.
        bias: (O,).
        grid: of what comes in.
        out: of what goes out; None for float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, grid: Grid, out: Grid | None = None) -> None:
        weight = weight.detach()
        largest = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-12)
        self.scales = largest / LARGEST
        integers = weight / self.scales.view(-1, *[1] * (weight.ndim - 1))
        self.integers = integers.round().clamp(-LARGEST, LARGEST).to(torch.int8)
        self.zero_points = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = bias.detach().clone()
        self.grid, self.out = grid, out

    def __deepcopy__(self, memo: object) -> Int8:
        return self  # nothing of it ever changes, and oneDNN's packed weights cannot be copied

    def quantize(self, x: Tensor) -> Tensor:
        """Of what comes in; raises InputError where gradients are wanted."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError('precision="int8" has no gradients; train in float32: tokenizer.set_precision("float32")')
        return self.grid.quantize(x)


class Convolution(Int8):
    """A 2-D convolution of channels-last images, uint8 in, the kernel (O, C, height, width)."""

    def __init__(
        self, weight: Tensor, bias: Tensor, grid: Grid, out: Grid | None, stride: tuple[int, int], padding: int
    ) -> None:
        super().__init__(weight, bias, grid, out)
        self.stride, self.padding = list(stride), [padding, padding]
        self.packed = torch.ops.onednn.qconv_prepack(
            self.integers, self.scales, grid.scale, grid.zero_point, self.stride, self.padding, [1, 1], 1, None
        )
        del self.integers

    def convolve(self, images: Tensor) -> Tensor:
        """(N, H, W, C), uint8, to (N, H', W', O)."""
        scale, zero_point = (1.0, 0) if self.out is None else (self.out.scale, self.out.zero_point)
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            images.permute(0, 3, 1, 2),
            self.grid.scale,
            self.grid.zero_point,
            self.packed,
            self.scales,
            self.zero_points,
            self.bias,
            self.stride,
            self.padding,
            [1, 1],
            1,
            scale,
            zero_point,
            torch.float32 if self.out is None else torch.uint8,
            "none",
            [],
            "",
        )
        return y.permute(0, 2, 3, 1).contiguous()


class SpatialInt8(Convolution):
    """3x3 convolution of images (N, H, W, C); stride 2 pads below and to the right only."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, grid: Grid, out: Grid | None = None) -> None:
        super().__init__(weight, bias, grid, out, (stride, stride), 1 if stride == 1 else 0)

    def __call__(self, images: Tensor) -> Tensor:
        images = self.quantize(images)
        if not self.padding[0]:
            padded = (0, 0, 0, 1, 0, 1)
            images = torch.nn.functional.pad(images, padded, value=self.grid.zero_point)
        return self.convolve(images)


class UpsampledInt8:
    """3x3 convolution of images whose every pixel stands four times, as a 2 x 2 square.

    Of each output's nine inputs only four differ, so that 2x2 convolutions of the small images do, one for each place
    in a square, by weights that are sums.
    """

    def __init__(self, weight: Tensor, bias: Tensor, grid: Grid) -> None:
        self.grid, self.channels = grid, len(weight)
        self.convolutions = {
            (row, column): Convolution(merge_taps(merge_taps(weight, 2, row), 3, column), bias, grid, None, (1, 1), 0)
            for row in (0, 1)
            for column in (0, 1)
        }

    def __call__(self, images: Tensor) -> Tensor:
        """(N, H, W, C), made of equal squares, to (N, H, W, O)."""
        small = self.convolutions[0, 0].quantize(images[:, ::2, ::2])
        height, width = small.shape[1:3]
        padded = torch.nn.functional.pad(small, (0, 0, 1, 1, 1, 1), value=self.grid.zero_point)
        y = torch.empty(*images.shape[:3], self.channels)
        for (row, column), convolution in self.convolutions.items():
            window = padded[:, row : row + height + 1, column : column + width + 1]
            y[:, row::2, column::2] = convolution.convolve(window)
        return y


def merge_taps(weight: Tensor, axis: int, place: int) -> Tensor:
    """Two of three taps added, the last two for the first place in a square, the first two for the second."""
    first, second, third = weight.unbind(axis)
    return torch.stack((first, second + third) if place == 0 else (first + second, third), axis)


class TemporalInt8(Convolution):
    """Causal convolution of three frames; without a past the first frame stands for it.

    Args:
        weight: (O, C, 3).
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, grid: Grid) -> None:
        super().__init__(weight.unsqueeze(-1), bias, grid, None, (stride, 1), 0)

    def __call__(self, past: Tensor | None, x: Tensor) -> Tensor:
        """(B, T, H, W, C) to (B, T / stride, H, W, O)."""
        x = self.quantize(x)
        lead = x[:, :1].expand(-1, 3 - self.stride[0], -1, -1, -1) if past is None else self.quantize(past)
        y = self.convolve(torch.cat((lead, x), dim=1).flatten(2, 3))  # time is the image's height, all pixels its width
        return y.unflatten(2, x.shape[2:4])


class PointwiseInt8(Int8):
    """Linear map of the last axis."""

    def __init__(self, weight: Tensor, bias: Tensor, grid: Grid) -> None:
        super().__init__(weight, bias, grid)
        self.packed = torch.ops.onednn.qlinear_prepack(self.integers, None)
        del self.integers

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C) to (..., O)."""
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            self.quantize(x),
            self.grid.scale,
            self.grid.zero_point,
            self.packed,
            self.scales,
            self.zero_points,
            self.bias,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return y


def engines() -> list[str]:
    """For integers, of this PyTorch on this processor."""
    return torch.backends.quantized.supported_engines


@lru_cache(maxsize=1)
def require_int8() -> None:
    """Raises InputError unless processor and PyTorch can compute the layers above."""
    remedy = 'use precision="float32"'
    if platform.machine().lower() not in ("x86_64", "amd64") or not has_vnni():
        raise InputError(f'precision="int8": this processor has no AVX-512 VNNI instructions; {remedy}')
    if "onednn" not in engines() or not all(hasattr(torch.ops.onednn, name) for name in OPERATORS):
        raise InputError(
            f'precision="int8": PyTorch {torch.__version__} is built without oneDNN\'s integer operators; {remedy}, '
            "or install the PyTorch wheel of pytorch.org for x86"
        )
    with warnings.catch_warnings():  # PyTorch tells once that quantised tensors are to go some day; `Grid` is prepared
        warnings.simplefilter("ignore")
        Grid.over(0, 1).quantize(torch.zeros(1))
