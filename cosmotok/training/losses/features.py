"""Losses on VGG's features: perceptual and Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmotok.perceptual.vgg import at_least_float32
from cosmotok.training.losses.pixel import l1, l2

__all__ = ["gram_loss", "perceptual_loss"]


def perceptual_loss(reconstruction: list[Tensor], source: list[Tensor], layer_weights: Sequence[float]) -> Tensor:
    """Sum over layers of weight x mean absolute difference of features (paper section 3.2)."""
    layers = zip(reconstruction, source, layer_weights, strict=True)
    return torch.stack([w * l1(at_least_float32(r), at_least_float32(s)) for r, s, w in layers]).sum()


def gram_loss(reconstruction: list[Tensor], source: list[Tensor], layer_weights: Sequence[float], clips: int) -> Tensor:
    """Sum over layers of weight x mean squared difference of the clips' Gram matrices.

    The released code squares; the paper writes an L1 norm. The published weight belongs to the code.

    Args:
        reconstruction, source: features (clips * T, C, H, W) of each layer.
    """
    layers = zip(reconstruction, source, layer_weights, strict=True)
    return torch.stack([w * l2(gram_matrix(r, clips), gram_matrix(s, clips)) for r, s, w in layers]).sum()


def gram_matrix(features: Tensor, clips: int) -> Tensor:
    """Products of channels, averaged over a clip's frames and positions: (clips * T, C, H, W) to (clips, C, C)."""
    with torch.autocast(features.device.type, enabled=False):  # long sums
        x = at_least_float32(features).unflatten(0, (clips, -1)).transpose(1, 2).flatten(2)
        return x @ x.transpose(1, 2) / x.shape[-1]
