"""What computes a layer in float32 on the CPU when no gradient is wanted; None where the plain operator is as fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from cosmotok.kernels.products import Product, suits
from cosmotok.kernels.winograd import TILE, SpatialWinograd, TemporalWinograd

__all__ = ["pointwise_kernel", "spatial_kernel", "temporal_kernel"]

CHANNELS = 128
"""In and out; with fewer, the transforms and calls take longer than they save."""
POSITIONS = 64
"""Per frame, likewise for plain products."""
TILES = 32
"""Per frame; with fewer, reading the transformed weights, of which there are four times as many, takes longer."""

K = TypeVar("K")
_prepared: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def pointwise_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> Product | None:
    """For (..., C)."""
    worth = min(weight.shape) >= CHANNELS and x.numel() >= POSITIONS * x.shape[-1]
    return prepared(Product, weight, bias) if worth and suits(x) else None


def spatial_kernel(images: Tensor, weight: Tensor, bias: Tensor) -> SpatialWinograd | None:
    """For (N, H, W, C), stride 1."""
    worth = min(weight.shape[:2]) >= CHANNELS and images.shape[1] * images.shape[2] >= TILES * TILE**2
    return prepared(SpatialWinograd, weight, bias) if worth and suits(images) else None


def temporal_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> TemporalWinograd | None:
    """For (B, T, H, W, C), stride 1."""
    worth = min(weight.shape[:2]) >= CHANNELS and x.shape[2] * x.shape[3] >= POSITIONS
    return prepared(TemporalWinograd, weight, bias) if worth and suits(x) else None


def prepared(make: Callable[[Tensor, Tensor], K], weight: Tensor, bias: Tensor) -> K | None:
    """`make(weight, bias)`, made once for as long as nobody changes them; None where that cannot be told."""
    if weight.is_inference() or bias.is_inference():
        return None
    state = [(tensor._version, tensor.data_ptr()) for tensor in (weight, bias)]
    held: tuple[Any, K] | None = _prepared.get(weight)
    if held is None or held[0] != state:
        held = state, make(weight.detach(), bias.detach())
        _prepared[weight] = held
    return held[1]
