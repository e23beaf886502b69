"""Finite scalar quantisation (Mentzer et al., arXiv 2309.15505; Cosmos paper section 3.1): each channel is rounded to a
few levels, and the codes of all channels together are one index. There is no codebook to learn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["FSQ"]


class FSQ(nn.Module):
    """Quantiser with `levels[i]` values in channel i, e.g. (8, 8, 8, 5, 5, 5) for 64,000 codes.

    The first level is the least significant digit of an index. All arithmetic is float32 or int32: bfloat16
    cannot hold an index.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.vocab_size = math.prod(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        # Integer buffers, because a network that becomes bfloat16 leaves those alone.
        self.register_buffer("size", torch.tensor(levels, dtype=torch.int32), persistent=False)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.int32), persistent=False)

    size: Tensor
    basis: Tensor

    @property
    def middle(self) -> Tensor:
        """The digit of code 0, per channel."""
        return self.size // 2

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., len(levels)) squashed so that rounding gives exactly `levels` values; float32."""
        half, offset = self.half_and_offset()
        return torch.tanh(z.float() + torch.atanh(offset / half)) * half - offset

    def half_and_offset(self) -> tuple[Tensor, Tensor]:
        """Of the values that `bound` gives, per channel: half of their range, and what is taken off."""
        half = (self.size - 1) * ((1 + 1e-3) / 2)
        offset = (1 - self.size % 2) * 0.5  # an even number of levels has no middle: shift by half a step
        return half, offset

    def quantize(self, z: Tensor) -> Tensor:
        """Latents (..., len(levels)) to codes in [-1, 1], same shape and dtype, with a straight-through gradient."""
        bounded = self.bound(z)
        rounded = bounded + (bounded.round() - bounded).detach()
        return (rounded / self.middle).to(z.dtype)

    def codes_to_indices(self, codes: Tensor) -> Tensor:
        """Codes (..., len(levels)) to int32 indices (...) in [0, vocab_size)."""
        digits = (codes.float() * self.middle).round().int() + self.middle
        return (digits * self.basis).sum(dim=-1, dtype=torch.int32)

    def indices_to_codes(self, indices: Tensor) -> Tensor:
        """Indices (...), any integer dtype, to float32 codes (..., len(levels))."""
        digits = indices.int().unsqueeze(-1) // self.basis % self.size
        return (digits - self.middle) / self.middle

    def indices(self, z: Tensor) -> Tensor:
        """Latents (..., len(levels)) to int32 indices (...)."""
        digits = self.bound(z).round().int() + self.middle
        return (digits * self.basis).sum(dim=-1, dtype=torch.int32)
