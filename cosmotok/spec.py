"""`TokenizerSpec`: what is known of any tokenizer without running it. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["TokenizerSpec"]

READ_AHEAD = 16
"""Frames that are read at a time for a tokenizer that takes whole clips."""


@dataclass(frozen=True)
class TokenizerSpec:
    """The facts of a tokenizer that everything above it goes by: factors, kind of tokens, and schedule of a stream.

    In general a clip of T frames has 1 + ceil((T - `first`) / `temporal_factor`) latent frames. In a causal tokenizer
    the first latent frame stands for one frame, so that an image is a clip with T = 1.
    """

    name: str
    """For people, for token files and for the names of outputs."""
    spatial_factor: int
    """Pixels per latent position, in height and in width."""
    temporal_factor: int = 1
    """Frames per latent frame after the first."""
    latent_channels: int = 16
    vocab_size: int | None = None
    """Number of codes; None for continuous latents."""
    clips: bool = True
    """Makes use of time. Otherwise the frames of a clip are coded one by one."""
    causal: bool = True
    """No frame of a clip depends on a later one."""
    attends: bool = False
    """Has temporal attention, which `attention_context` bounds."""
    chunk: int | None = 1
    """Latent frames per step of a stream, after the first one, which is a step of its own. None: cannot stream, so that
    a clip is one step, and its memory grows with the clip."""
    first: int = 1
    """Frames that the first latent frame stands for."""
    group: int = 1
    """Latent frames that come together, after the first."""

    @property
    def kind(self) -> Literal["image", "video"]:
        """What the tokenizer was made for."""
        return "video" if self.clips else "image"

    @property
    def is_discrete(self) -> bool:
        """Whether tokens are indices rather than latents."""
        return self.vocab_size is not None

    @property
    def time_axis(self) -> int:
        """Of tokens: 1 in indices (B, T', H', W'), 2 in latents (B, C, T', H', W')."""
        return 1 if self.is_discrete else 2

    @property
    def images(self) -> bool:
        """Whether a single frame is coded as such; otherwise it is repeated until the first group is full."""
        return self.first == 1

    @property
    def streams(self) -> bool:
        """Whether a clip can be coded step by step, to the same tokens as at once."""
        return self.chunk is not None

    @property
    def step_frames(self) -> int:
        """Frames per step after the first, or a handy number of them for a tokenizer that cannot stream."""
        return READ_AHEAD if self.chunk is None else self.chunk * self.temporal_factor

    @property
    def compression(self) -> int:
        """Pixels per token, the x axis of the paper's Fig. 1."""
        return self.spatial_factor**2 * self.temporal_factor

    @property
    def shape(self) -> str:
        """The factors for people, such as 8x8x8, or 8x8 of images."""
        factors = [self.temporal_factor] * self.clips + [self.spatial_factor] * 2
        return "x".join(map(str, factors))

    def bits_per_token(self, latent_bits: int = 16) -> float:
        """Of one position: log2 of the vocabulary, or `latent_bits` for each channel."""
        return self.latent_channels * latent_bits if self.vocab_size is None else math.log2(self.vocab_size)

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Latent positions (T', H', W') of a clip of that size."""
        groups = -(-max(0, frames - self.first) // (self.temporal_factor * self.group))
        return 1 + groups * self.group, -(-height // self.spatial_factor), -(-width // self.spatial_factor)

    def size(self, grid: tuple[int, int, int]) -> tuple[int, int, int]:
        """Frames, height and width that tokens on a grid decode to: the largest clip that has it."""
        frames, height, width = grid
        return (
            self.first + (frames - 1) * self.temporal_factor,
            height * self.spatial_factor,
            width * self.spatial_factor,
        )

    def missing(self, frames: int, started: bool) -> int:
        """Frames to add to `frames` so that they make whole groups; `started`: the first group has been before."""
        rest = frames if started else max(0, frames - self.first)
        short = 0 if started else max(0, self.first - frames)
        return short + -rest % (self.temporal_factor * self.group)
