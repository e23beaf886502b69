"""Attention among many positions on the CPU, by oneDNN's products; about twice as fast as PyTorch's own there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cosmotok.kernels.products import linear, suits

__all__ = ["attention"]

CHANNELS = 128
"""With fewer, the scaled products are not what takes the time."""
SHORTEST = 256
"""Likewise, of sequences."""
QUERIES = 256
"""That are worked on together: their weights over all keys are all that is held at a time."""


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(C)) v of every sequence, (N, L, C) each."""
    if q.shape[2] < CHANNELS or q.shape[1] < SHORTEST or not suits(q):
        return F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1)
    out = torch.empty_like(q)
    scaled, columns = q * q.shape[2] ** -0.5, v.transpose(1, 2).contiguous()
    for queries, keys, values, result in zip(scaled, k, columns, out, strict=True):
        for some, here in zip(queries.split(QUERIES), result.split(QUERIES), strict=True):
            here.copy_(linear(linear(some, keys).softmax(dim=1), values))
    return out
