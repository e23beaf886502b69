"""Changes to tokens that show what they hold, before they are decoded."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from cosmotok.demo.clips import Clip, Result, Steps, decoded, encoded, measured, scaled
from cosmotok.errors import InputError
from cosmotok.interface import BaseTokenizer
from cosmotok.spec import TokenizerSpec

__all__ = ["AS_IT_IS", "Changes", "changed", "drop", "round_to_bits", "shift", "swap", "what_if"]

AS_IT_IS = 16
"""Bits at which latents are not rounded."""


@dataclass(frozen=True)
class Changes:
    """What is done to tokens, in this order; nothing unless said."""

    swapped: float = 0
    """A rectangle in the middle, of this share of height and width, has the tokens of another clip."""
    dropped: float = 0
    """Share of positions that lose their tokens."""
    shifted: int = 0
    """Latent frames by which all is later."""
    bits: int = AS_IT_IS
    """For each value of latents."""


def drop(tokens: Tensor, spec: TokenizerSpec, share: float) -> Tensor:
    """A share, 0 to 1, of positions gets what tells nothing: of latents their mean, of indices the commonest one. The
    same positions each time, and with a larger share others besides."""
    grid = tokens.shape[-3:]
    lost = torch.rand(grid, generator=torch.Generator().manual_seed(0)) < share
    nothing = tokens.flatten().mode().values if spec.is_discrete else tokens.mean((2, 3, 4), keepdim=True)
    return torch.where(lost, nothing, tokens)


def shift(tokens: Tensor, frames: int) -> Tensor:
    """All later by some latent frames; the first one is repeated before."""
    count = tokens.shape[-3]
    return tokens.index_select(-3, (torch.arange(count) - frames).clamp(0, count - 1))


def round_to_bits(latents: Tensor, bits: int) -> Tensor:
    """Each channel's values to 2^bits levels, evenly from its lowest to its highest."""
    low, high = latents.amin((2, 3, 4), keepdim=True), latents.amax((2, 3, 4), keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(latents.dtype).tiny)
    return low + ((latents - low) / step).round() * step


def swap(tokens: Tensor, others: Tensor, share: float) -> Tensor:
    """A rectangle in the middle, of `share` (0 to 1) of height and width, from `others`, whose grid is the same but for
    time; the last frame of a shorter one stays."""
    count, height, width = tokens.shape[-3:]
    others = others.index_select(-3, torch.arange(count).clamp_max(others.shape[-3] - 1))
    sides = [(round(side * (1 - share) / 2), round(side * (1 + share) / 2)) for side in (height, width)]
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[slice(*sides[0]), slice(*sides[1])] = True
    return torch.where(inside, others, tokens)


def changed(tokens: Tensor, others: Tensor | None, spec: TokenizerSpec, changes: Changes) -> Tensor:
    """Tokens with all changes.

    Raises:
        InputError: for fewer bits of indices, or a swap without other tokens.
    """
    if changes.swapped and others is None:
        raise InputError("swap: expected another picture or video to swap with")
    if changes.bits != AS_IT_IS and spec.is_discrete:
        raise InputError(f"bits: {spec.name} has indices, which cannot be rounded; choose a model with latents")
    if changes.swapped and others is not None:
        tokens = swap(tokens, others, changes.swapped)
    tokens = shift(drop(tokens, spec, changes.dropped), changes.shifted)
    return tokens if changes.bits == AS_IT_IS else round_to_bits(tokens, changes.bits)


def what_if(
    tokenizer: BaseTokenizer, clip: Clip, other: Clip | None, changes: Changes
) -> Generator[float, None, tuple[Result, Result]]:
    """A clip from its tokens as they are, and from changed ones; `other` has the same height and width."""
    size = (len(clip.frames), clip.info.height, clip.info.width)
    tokens = yield from scaled(encoded(tokenizer, clip), 0, 0.2)
    others = None
    if other is not None:
        others = yield from scaled(encoded(tokenizer, other), 0.2, 0.4)
    after = changed(tokens, others, tokenizer.spec, changes)

    def result(tokens: Tensor, low: float, high: float) -> Steps[Result]:
        begin = time.monotonic()
        pixels = yield from scaled(decoded(tokenizer, tokens, size), low, high)
        return Result(clip, tokens, pixels, measured(tokenizer, clip, pixels, time.monotonic() - begin))

    first = yield from result(tokens, 0.4, 0.7)
    second = yield from result(after, 0.7, 1)
    return first, second
