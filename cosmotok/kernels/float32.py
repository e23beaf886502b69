"""What computes a layer in float32 on the CPU when no gradient is wanted; None where the plain operator is as fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cosmotok.kernels import products
from cosmotok.kernels.products import Product
from cosmotok.kernels.winograd import SpatialWinograd, TemporalWinograd
from cosmotok.private import contents

__all__ = ["pointwise_kernel", "spatial_kernel", "temporal_kernel"]

CHANNELS = 128
"""In and out; with fewer, the transforms and calls take longer than they save."""

K = TypeVar("K")
_prepared: WeakKeyDictionary[torch.UntypedStorage, dict[int, tuple[Any, Any]]] = WeakKeyDictionary()
"""What layers have prepared, by the memory of their weights and where in it: it goes when that does, be it that the
layer is gone or that it has moved to another device. Winograd's matrices are four times as large as the weights."""


def pointwise_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> Product | None:
    """For (..., C)."""
    return prepared(Product, weight, bias) if suits(x, weight) else None


def spatial_kernel(images: Tensor, weight: Tensor, bias: Tensor) -> SpatialWinograd | None:
    """For (N, H, W, C), stride 1."""
    return prepared(SpatialWinograd, weight, bias) if suits(images, weight) else None


def temporal_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> TemporalWinograd | None:
    """For (B, T, H, W, C), stride 1."""
    return prepared(TemporalWinograd, weight, bias) if suits(x, weight) else None


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether the layer is wide enough, and nobody would notice but by the clock."""
    return min(weight.shape[:2]) >= CHANNELS and products.suits(x)


def prepared(make: Callable[[Tensor, Tensor], K], weight: Tensor, bias: Tensor) -> K | None:
    """`make(weight, bias)`, made once for as long as nobody changes them; None where that cannot be told."""
    if weight.is_inference() or bias.is_inference():
        return None
    state = contents(weight), contents(bias)
    kernels = _prepared.setdefault(weight.untyped_storage(), {})
    held: tuple[Any, K] | None = kernels.get(weight.data_ptr())
    if held is None or held[0] != state:
        held = kernels[weight.data_ptr()] = state, make(weight.detach(), bias.detach().clone())
    return held[1]
