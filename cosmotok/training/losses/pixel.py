"""Losses on pixels, between tensors of one shape, in [-1, 1]."""

from __future__ import annotations

from torch import Tensor

__all__ = ["charbonnier", "l1", "l2"]


def l1(reconstruction: Tensor, source: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (reconstruction - source).abs().mean()


def l2(reconstruction: Tensor, source: Tensor) -> Tensor:
    """Mean squared difference."""
    return (reconstruction - source).square().mean()


def charbonnier(reconstruction: Tensor, source: Tensor, epsilon: float) -> Tensor:
    """Mean of sqrt(difference^2 + epsilon^2) - epsilon: L1 for large differences, smooth for those below epsilon."""
    return ((reconstruction - source).square() + epsilon**2).sqrt().mean() - epsilon
