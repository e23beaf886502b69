"""`Checkpoint`: what every reader of weights returns and every writer takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from cosmotok.config import TokenizerConfig
from cosmotok.errors import CheckpointError
from cosmotok.network import HALVES

__all__ = ["Checkpoint", "half_of", "make_folder"]


@dataclass(frozen=True)
class Checkpoint:
    """A tokenizer's config and weights."""

    config: TokenizerConfig
    tensors: dict[str, Tensor] = field(repr=False)
    """By the parameter names of `cosmotok.network.Autoencoder`. One half may be absent as a whole."""
    source: str
    """File, folder or name it came from, for messages."""

    @property
    def halves(self) -> frozenset[str]:
        """Of "encoder" and "decoder", those that are here."""
        return frozenset(half for name in self.tensors if (half := half_of(name)))


def half_of(name: str) -> str | None:
    """Which half the parameter `name` belongs to: "encoder" or "decoder", or None if it is no parameter of ours."""
    module = name.partition(".")[0]
    return next((half for half, modules in HALVES.items() if module in modules), None)


def make_folder(folder: Path) -> None:
    """Makes the folder that weights are to be written to; raises CheckpointError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot make this folder for the weights: {error.strerror}") from None
