"""Losses between a reconstruction and its source, both (B, 3, T, H, W) in [-1, 1]."""

from __future__ import annotations

from torch import Tensor

__all__ = ["charbonnier"]


def charbonnier(reconstruction: Tensor, source: Tensor, epsilon: float) -> Tensor:
    """Mean of sqrt(difference^2 + epsilon^2) - epsilon: L1 for large differences, smooth for those below epsilon."""
    return ((reconstruction - source).square() + epsilon**2).sqrt().mean() - epsilon
