"""Tokenizers of every family as contestants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from cosmotok.contestants import Source, Tally, Traits
from cosmotok.defaults import ATTENTION_CONTEXT
from cosmotok.evaluation.streams import streamed
from cosmotok.interface import BaseTokenizer, Model
from cosmotok.metrics.codes import CodeUsage
from cosmotok.spec import TokenizerSpec

__all__ = ["LATENT_BITS", "WINDOW", "TokenizerContestant"]

LATENT_BITS = 16
"""That a channel of a latent vector counts: half precision, as token files have it."""

WINDOW = 49
"""Frames of a clip that a tokenizer which cannot stream holds at once; longer clips come in several windows."""


@dataclass(frozen=True)
class TokenizerContestant:
    """A tokenizer that is measured; clips go through it as streams, or in windows where it cannot stream."""

    model: Model
    dtype: str = "float32"
    window: int = WINDOW

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def traits(self) -> Traits:
        spec, notes = self.model.spec, list(self.model.notes)
        if spec.clips and not spec.streams:
            notes.insert(0, f"clips of more than {self.window} frames in windows of so many")
        if spec.attends:
            notes.append(f"temporal attention looks back on {ATTENTION_CONTEXT} latent frames")
        return Traits(
            family="linear" if self.model.linear else "tokenizer",
            image=spec.images,
            video=spec.clips,
            causal=spec.clips and spec.causal,
            streaming=spec.clips and spec.streams,
            space=spec.spatial_factor,
            time=spec.temporal_factor,
            channels=None if spec.is_discrete else spec.latent_channels,
            vocab_size=spec.vocab_size,
            parameters=self.model.parameters,
            note="; ".join(notes),
        )

    def load(self, device: str) -> TokenizerReconstructor:
        return TokenizerReconstructor(self.model.load(device, getattr(torch, self.dtype)), self.window)


@dataclass(frozen=True)
class TokenizerReconstructor:
    tokenizer: BaseTokenizer
    window: int

    @property
    def fingerprint(self) -> str:
        """Of the weights, and how they compute."""
        window = "" if self.tokenizer.spec.streams else f" {self.window}"
        return f"{self.tokenizer.fingerprint} {self.tokenizer.arithmetic}{window}"

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        spec = self.tokenizer.spec
        codes = None if spec.vocab_size is None else CodeUsage(spec.vocab_size)
        bits = 0.0

        def count(tokens: Tensor) -> None:
            nonlocal bits
            bits += spec.bits_per_token(LATENT_BITS) * positions(tokens, spec)
            if codes is not None:
                codes.update(tokens)

        for window in self.windows(frames):
            yield from streamed(self.tokenizer, window, count)
        tally.bits, tally.codes = bits, codes

    def windows(self, frames: Iterable[np.ndarray]) -> Iterator[Iterable[np.ndarray]]:
        if self.tokenizer.spec.streams:
            yield frames
            return
        rest = iter(frames)
        while window := list(islice(rest, self.window)):
            yield window


def positions(tokens: Tensor, spec: TokenizerSpec) -> int:
    """Of the latent grid."""
    return tokens.numel() // (1 if spec.is_discrete else spec.latent_channels)
