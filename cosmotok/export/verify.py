"""Proof that exported graphs do what the network does: both run on noise of several sizes, whole and as streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cosmotok.errors import CosmotokError
from cosmotok.export.runner import ExportedTokenizer
from cosmotok.interface import BaseTokenizer
from cosmotok.network import FSQ, StreamState
from cosmotok.spec import TokenizerSpec
from cosmotok.tokenizer import Tokenizer

__all__ = ["ExportError", "tokens_agree", "verify"]

TOLERANCE = 1e-4
MARGIN = 1e-3
"""How near to a rounding boundary of FSQ, in steps, a value may be for its index to differ."""
SIZES = ((1, 1, 16), (3, 16, 1))
"""Batch, latent height and latent width. Ones are where exporters go wrong; but not all at once: a group of an image
network's norms would be of a few values then, and rounding decides over what is left of two without their mean."""


class ExportError(CosmotokError):
    """A network cannot be exported, or what was exported gives other results."""


class Latents(BaseTokenizer):
    """A tokenizer without the rounding of FSQ, for what comes before it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.network = tokenizer, tokenizer.network

    @property
    def spec(self) -> TokenizerSpec:
        return replace(self.tokenizer.spec, vocab_size=None)

    @property
    def fingerprint(self) -> str:
        return self.tokenizer.fingerprint

    def encode_step(self, frames: Tensor, state: StreamState) -> Tensor:
        return self.network.encode(frames, state)

    def decode_step(self, tokens: Tensor, state: StreamState) -> Tensor:
        return self.network.decode(tokens, state)


@torch.no_grad()
def verify(
    tokenizer: Tokenizer, exported: ExportedTokenizer, parts: list[str], fixed: Mapping[str, int] | None = None
) -> None:
    """Compares the exported `parts` with `tokenizer`, which is on the CPU in float32, its weights rounded as theirs.

    Args:
        fixed: sizes of axes that are not free.

    Raises:
        ExportError: where latents or frames differ by more than 1e-4 of their range, or an index whose value was not
            within 1e-3 of a rounding boundary.
    """
    config = tokenizer.config
    noise = torch.Generator().manual_seed(0)
    fixed = fixed or {}
    axes = ("batch", "latent_height", "latent_width")
    for batch, height, width in dict.fromkeys(tuple(map(fixed.get, axes, sizes)) for sizes in SIZES):
        for lengths in ([1], [1, 1, 2, config.chunk]):  # steps of one leave states that another has to take
            latent_frames = sum(lengths)
            frames = 1 + (latent_frames - 1) * config.temporal_factor
            size = (batch, 3, frames, height * config.spatial_factor, width * config.spatial_factor)
            video = torch.rand(size, generator=noise) * 2 - 1
            grid = (batch, latent_frames, height, width)
            if config.vocab_size is not None:
                tokens = torch.randint(config.vocab_size, grid, generator=noise, dtype=torch.int32)
            else:
                tokens = torch.randn(grid, generator=noise).unsqueeze(1).repeat(1, config.latent_channels, 1, 1, 1)
            for context in (None, 2):
                for part in parts:
                    if part.endswith("_steps") or context is None:
                        data = video if part.startswith("encoder") else tokens
                        _compare(tokenizer, exported, part, data, lengths, context)


def _compare(
    tokenizer: Tokenizer,
    exported: ExportedTokenizer,
    part: str,
    data: Tensor,
    lengths: list[int],
    context: int | None,
) -> None:
    half, _, steps = part.partition("_")
    quantizer = tokenizer.network.quantizer if half == "encoder" else None
    if half == "encoder":
        axis, cuts = 2, [1, *(n * tokenizer.config.temporal_factor for n in lengths[1:])]
    else:
        axis, cuts = tokenizer.spec.time_axis, lengths
    pieces = data.split(cuts, dim=axis)
    expected = _stepped(Latents(tokenizer) if half == "encoder" else tokenizer, half, pieces, context)
    if steps:
        got = _stepped(exported, half, pieces, context)
    else:
        got = exported.encode(data) if half == "encoder" else exported.decode(data)
    if quantizer is not None:
        wrong = int((~tokens_agree(got, expected, quantizer)).sum())
        if wrong:
            raise ExportError(f"{part}: {wrong} of {got.numel()} tokens differ from the network's; nothing was written")
        return
    difference = (got - expected).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ExportError(f"{part}: results differ from the network's by up to {difference:.2g}; nothing was written")


def _stepped(tokenizer: BaseTokenizer, half: str, pieces: Sequence[Tensor], context: int | None) -> Tensor:
    """Results of one stream, in steps of those lengths."""
    step, state = tokenizer.encode_step if half == "encoder" else tokenizer.decode_step, StreamState(context)
    results = [step(piece, state) for piece in pieces]
    return torch.cat(results, dim=1 if results[0].ndim == 4 else 2)


def tokens_agree(indices: Tensor, latents: Tensor, quantizer: FSQ) -> Tensor:
    """Where `indices` (B, T', H', W') are those of `latents` (B, C, T', H', W'), or differ by a hair's rounding."""
    bounded = quantizer.bound(latents.movedim(1, -1))
    digits = indices.unsqueeze(-1) // quantizer.basis % quantizer.size - quantizer.middle
    return ((bounded - digits).abs() <= 0.5 + MARGIN).all(dim=-1)
