"""What a tokenizer of anyone's has to offer to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["Clip", "Codec", "Subject"]

SEED = 0
"""Of random weights: whoever builds a model again gets the same ones."""


@dataclass(frozen=True)
class Clip:
    """The size of a clip, or of an image, which has one frame."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames}x{self.width}x{self.height}"

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.height * self.width


class Codec(Protocol):
    """A model that is loaded, or that has only shapes, on PyTorch's "meta" device."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for whoever reads the numbers."""

    def takes(self, clip: Clip) -> Clip:
        """The smallest clip that it takes and that contains `clip`."""

    def encode(self, video: Tensor) -> Tensor:
        """(1, 3, T, H, W) in [-1, 1] to latents or indices."""

    def decode(self, latents: Tensor) -> Tensor:
        """What `encode` gave, to (1, 3, T, H, W)."""


class Subject(Protocol):
    """A model by its name; can be sent to the process that builds it."""

    @property
    def name(self) -> str: ...

    @property
    def twin(self) -> Subject | None:
        """Whose weights it has, where that is another subject: then their outputs should agree."""

    def build(self, device: str, dtype: torch.dtype) -> Codec:
        """With weights, ready to run."""

    def on_meta(self) -> Codec:
        """With shapes alone, for counting: its operations are those of the direct algorithms."""
