"""Changes to tokens that show what they hold, before they are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cosmotok.defaults import ATTENTION_CONTEXT
from cosmotok.demo.clips import Result, Show, Steps, Stopwatch, reported
from cosmotok.errors import InputError
from cosmotok.frames import to_pixels
from cosmotok.interface import BaseTokenizer
from cosmotok.media import MediaReader
from cosmotok.metrics.quality import RunningQuality
from cosmotok.spec import TokenizerSpec

__all__ = [
    "AS_IT_IS",
    "Changes",
    "begin",
    "changed",
    "decoded",
    "drop",
    "freeze",
    "painted_tokens",
    "rectangle",
    "round_to_bits",
    "shift",
    "show_changed",
    "swap",
]

AS_IT_IS = 16
"""Bits at which latents are not rounded."""


@dataclass(frozen=True)
class Changes:
    """What is done to tokens, in this order; nothing unless said."""

    painted: np.ndarray | None = None
    """(H, W), bool, of the picture: tokens of whatever is painted are those of another clip."""
    swapped: float = 0
    """So are those of a rectangle in the middle, of this share of height and width."""
    begun: bool = False
    """The first latent frame is the other clip's."""
    frozen: float = 0
    """Share of places whose tokens stay as in the first latent frame."""
    dropped: float = 0
    """Share of positions that lose their tokens."""
    shifted: int = 0
    """Latent frames by which all is later."""
    bits: int = AS_IT_IS
    """For each value of latents."""

    @property
    def needs_other(self) -> bool:
        return bool(self.swapped or self.begun or (self.painted is not None and self.painted.any()))


def rectangle(height: int, width: int, share: float) -> Tensor:
    """(height, width), bool: true in the middle, `share` (0 to 1) of each side."""
    sides = [(round(side * (1 - share) / 2), round(side * (1 + share) / 2)) for side in (height, width)]
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[slice(*sides[0]), slice(*sides[1])] = True
    return inside


def painted_tokens(painted: np.ndarray, height: int, width: int) -> Tensor:
    """(height, width), bool: tokens any pixel of which is painted, (H, W) in bool."""
    pixels = torch.from_numpy(painted)[None, None].float()
    return torch.nn.functional.adaptive_max_pool2d(pixels, (height, width))[0, 0] > 0


def swap(tokens: Tensor, others: Tensor, where: Tensor) -> Tensor:
    """Tokens from `others` where (H', W') says so. Their grid is the same but for time; the last frame of a shorter one
    stays."""
    last = others.shape[-3] - 1
    return torch.where(where, others.index_select(-3, torch.arange(tokens.shape[-3]).clamp_max(last)), tokens)


def begin(tokens: Tensor, others: Tensor) -> Tensor:
    """The first latent frame from `others`, all later ones as they are."""
    return torch.cat([others.narrow(-3, 0, 1), tokens.narrow(-3, 1, tokens.shape[-3] - 1)], -3)


def freeze(tokens: Tensor, share: float) -> Tensor:
    """A share, 0 to 1, of places keeps the first latent frame's tokens; with a larger share others besides."""
    return torch.where(chosen(tokens.shape[-2:], share), tokens.narrow(-3, 0, 1), tokens)


def drop(tokens: Tensor, spec: TokenizerSpec, share: float) -> Tensor:
    """A share, 0 to 1, of positions gets what tells nothing: of latents their mean, of indices the commonest one. The
    same positions each time, and with a larger share others besides."""
    nothing = tokens.flatten().mode().values if spec.is_discrete else tokens.mean((2, 3, 4), keepdim=True)
    return torch.where(chosen(tokens.shape[-3:], share), nothing, tokens)


def chosen(grid: torch.Size, share: float) -> Tensor:
    """A random share of a grid, bool; the same each time."""
    return torch.rand(grid, generator=torch.Generator().manual_seed(0)) < share


def shift(tokens: Tensor, frames: int) -> Tensor:
    """All later by some latent frames; the first one is repeated before."""
    count = tokens.shape[-3]
    return tokens.index_select(-3, (torch.arange(count) - frames).clamp(0, count - 1))


def round_to_bits(latents: Tensor, bits: int) -> Tensor:
    """Each channel's values to 2^bits levels, evenly from its lowest to its highest."""
    low, high = latents.amin((2, 3, 4), keepdim=True), latents.amax((2, 3, 4), keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(latents.dtype).tiny)
    return low + ((latents - low) / step).round() * step


def changed(tokens: Tensor, others: Tensor | None, spec: TokenizerSpec, changes: Changes) -> Tensor:
    """Tokens with all changes.

    Raises:
        InputError: for fewer bits of indices, or without the other tokens that a change needs.
    """
    if changes.bits != AS_IT_IS and spec.is_discrete:
        raise InputError(f"bits: {spec.name} has indices, which cannot be rounded; choose a model with latents")
    if changes.needs_other:
        if others is None:
            raise InputError("expected another picture or video to take tokens from; choose one")
        height, width = tokens.shape[-2:]
        where = rectangle(height, width, changes.swapped)
        if changes.painted is not None:
            where |= painted_tokens(changes.painted, height, width)
        tokens = swap(tokens, others, where)
        if changes.begun:
            tokens = begin(tokens, others)
    tokens = shift(drop(freeze(tokens, changes.frozen), spec, changes.dropped), changes.shifted)
    return tokens if changes.bits == AS_IT_IS else round_to_bits(tokens, changes.bits)


def decoded(tokenizer: BaseTokenizer, clip: MediaReader, tokens: Tensor) -> Iterator[np.ndarray]:
    """Frames of a clip from its tokens, (T, H, W, 3) in uint8, latent frame by latent frame; at last what is left."""
    size = (clip.info.height, clip.info.width)
    decoder = tokenizer.stream_decoder(attention_context=ATTENTION_CONTEXT, size=size)
    for piece in tokens.split(1, tokenizer.spec.time_axis):
        yield to_pixels(decoder.push(piece.to(tokenizer.device)))
    yield to_pixels(decoder.flush())


def show_changed(
    tokenizer: BaseTokenizer, clip: MediaReader, before: Iterable[np.ndarray], after: Tensor, show: Show
) -> Steps[Result]:
    """Shows what is decoded from tokens after changes beside what was `decoded` before. Figures are of the former."""
    quality, timed, frames = RunningQuality(), Stopwatch(), iter(clip)
    now = decoded(tokenizer, clip, after)
    total = after.shape[tokenizer.spec.time_axis]
    for done, piece in enumerate(before, 1):
        for left, right, frame in zip(piece, timed(next, now), frames, strict=False):  # frames last: none is lost
            quality.update(frame.pixels, right)
            show(frame, left, right)
        yield min(1.0, done / total)
    return Result(after, reported(tokenizer, clip, quality, timed.seconds))
