"""Residual blocks and attention, the boxes of the paper's architecture figure (section 3.1, Fig. 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmotok.kernels.attention import attention
from cosmotok.network.causal import FrameNorm, Pointwise, swish
from cosmotok.network.state import Causal, StreamState

__all__ = ["Middle", "ResidualBlock", "SpatialAttention", "TemporalAttention"]

Conv = Callable[[int, int], nn.Module]
"""Makes a size-keeping convolution from its numbers of input and output channels."""


class ResidualBlock(nn.Module):
    """norm, swish, conv, norm, swish, conv, added to the input (through a 1x1x1 where the widths differ)."""

    def __init__(self, in_channels: int, out_channels: int, conv: Conv, groups: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(in_channels, groups)
        self.conv1 = conv(in_channels, out_channels)
        self.norm2 = FrameNorm(out_channels, groups)
        self.conv2 = conv(out_channels, out_channels)
        self.shortcut = nn.Identity() if in_channels == out_channels else Pointwise(in_channels, out_channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        h = self.conv1(swish(self.norm1(x)), state)
        h = swish(self.norm2(h))  # lets go of what conv1 made
        h = self.conv2(h, state)
        h += self.shortcut(x)
        return h


class SpatialAttention(nn.Module):
    """Full self-attention, one head, among the positions of each frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = FrameNorm(channels, groups)
        self.q = Pointwise(channels, channels)
        self.k = Pointwise(channels, channels)
        self.v = Pointwise(channels, channels)
        self.proj_out = Pointwise(channels, channels)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        h = self.norm(x)
        # (B T, H W, C)
        q, k, v = (project(h).flatten(2, 3).flatten(0, 1) for project in (self.q, self.k, self.v))
        return x + self.proj_out(attention(q, k, v).view(x.shape))


class TemporalAttention(SpatialAttention, Causal):
    """Causal self-attention, one head, over time at each position; earlier chunks are in the state's cache."""

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        batch, frames, height, width, channels = x.shape
        h = self.norm(x)
        # (B H W, T, C)
        q, k, v = (
            project(h).view(batch, frames, height * width, channels).transpose(1, 2).flatten(0, 1)
            for project in (self.q, self.k, self.v)
        )
        context = None
        if state is not None:
            context = state.attention_context
            k, v = state.attend(self.path, torch.stack((k, v))).unbind(0)
        mask = causal_mask(frames, k.shape[1], context, x.device) if frames > 1 else None
        h = F.scaled_dot_product_attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1), attn_mask=mask)
        h = h.view(batch, height * width, frames, channels).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


def causal_mask(queries: int, keys: int, context: int | None, device: torch.device) -> Tensor:
    """(queries, keys), True where a query may look: not ahead, and at no more than `context` frames.

    The queries are the last frames of the keys.
    """
    now = torch.arange(keys - queries, keys, device=device).unsqueeze(1)
    then = torch.arange(keys, device=device)
    mask = then <= now
    return mask if context is None else mask & (then > now - context)


class Middle(nn.Module):
    """Residual block, attention, residual block: the innermost part of encoder and decoder."""

    def __init__(self, channels: int, conv: Conv, groups: int, attention: list[nn.Module]) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, conv, groups)
        self.attention = nn.ModuleList(attention)
        self.block_2 = ResidualBlock(channels, channels, conv, groups)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        x = self.block_1(x, state)
        for layer in self.attention:
            x = layer(x, state)
        return self.block_2(x, state)
