"""`Checkpoint`: what every reader of weights returns and every writer takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from cosmotok.config import TokenizerConfig

__all__ = ["HALVES", "Checkpoint", "half_of"]

HALVES: dict[str, tuple[str, ...]] = {
    "encoder": ("encoder.", "encoder_shortcut.", "quant_conv."),
    "decoder": ("decoder.", "decoder_shortcut.", "post_quant_conv."),
}
"""Where the names of each half's parameters begin, in our own naming."""


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
        return frozenset(half_of(name) for name in self.tensors)


def half_of(name: str) -> str:
    """Which half our parameter `name` belongs to."""
    return next(half for half, beginnings in HALVES.items() if name.startswith(beginnings))

