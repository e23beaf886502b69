"""What can be compared: anything that turns frames into fewer bits, and those into frames again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:  # it needs torch, and processes that code video start without
    from cosmotok.metrics.codes import CodeUsage

__all__ = ["Contestant", "Reconstructor", "Source", "Tally", "Traits"]


@dataclass(frozen=True)
class Source:
    """The size of an image or clip that is measured."""

    kind: Literal["image", "video"]
    frames: int
    height: int
    width: int
    frame_rate: float | None = None
    """None for images."""

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.frames * self.height * self.width


@dataclass(frozen=True)
class Traits:
    """What a contestant is, for tables and axes. None where a figure does not apply."""

    family: Literal["tokenizer", "linear", "codec"]
    image: bool
    """Takes images."""
    video: bool
    """Takes clips, and makes use of time."""
    causal: bool
    """No frame depends on a later one."""
    streaming: bool
    """Memory does not grow with the length of a clip, and output comes while input goes on."""
    space: int | None = None
    """Pixels per latent position, in height and in width."""
    time: int | None = None
    """Frames per latent frame; 1 for images."""
    channels: int | None = None
    """Of continuous latents."""
    vocab_size: int | None = None
    """Of discrete tokens."""
    parameters: int | None = None
    note: str = ""
    """A remark for the reader, such as "random weights"."""

    @property
    def joint(self) -> bool:
        """Images and clips share one latent space."""
        return self.image and self.video

    @property
    def compression(self) -> int | None:
        """Pixels per token, the x axis of the paper's figure 1."""
        return None if self.space is None or self.time is None else self.space**2 * self.time


class Tally:
    """What one reconstruction cost, filled in by whoever made it."""

    def __init__(self) -> None:
        self.bits: float | None = None
        """Of the tokens or the file: latents count 16 bits per channel, an index log2 of the vocabulary."""
        self.codes: CodeUsage | None = None


class Reconstructor(Protocol):
    """A contestant that is loaded, in the process that uses it.

    It may have a text `fingerprint`, as weights have: an evaluation that goes on keeps no results of another one.
    Without it, what counts is all that the contestant itself is made of, pickled.
    """

    def reconstruct(self, frames: Iterable[np.ndarray], source: Source, tally: Tally) -> Iterator[np.ndarray]:
        """What comes back of a clip, frame for frame, in its size.

        Args:
            frames: uint8 (H, W, 3), as many as `source` says, read as they are needed.
            tally: complete when the last frame has come.
        """


class Contestant(Protocol):
    """A contestant by its name; can be sent to the process that loads it."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> Traits:
        """May load what it takes to know them."""

    def load(self, device: str) -> Reconstructor:
        """Ready to run.

        Raises:
            CosmotokError: where weights, an encoder or a package are missing; says which.
        """
